//! What Linux knows about a process: CPU, memory, bytes written. Parsers are apart from reading.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

/// CPU time from the text of `/proc/PID/stat`, given the ticks of a second.
pub fn parse_cpu(stat: &str, ticks_per_second: u64) -> anyhow::Result<Duration> {
    ensure!(ticks_per_second > 0, "a second has no ticks");
    // The second field is the program's name in brackets, which may hold blanks and brackets.
    let (_, rest) = stat.rsplit_once(')').context("stat without a name")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || -> anyhow::Result<u64> {
        fields.next().context("stat is short")?.parse().context("ticks in stat")
    };
    let total = ticks()?.checked_add(ticks()?).context("ticks in stat")?;
    Ok(Duration::from_secs_f64(total as f64 / ticks_per_second as f64))
}

/// Bytes of a line such as `VmHWM:   123 kB` of `/proc/PID/status`.
pub fn parse_memory(status: &str, name: &str) -> anyhow::Result<u64> {
    let kib: u64 = field(status, name)?
        .strip_suffix("kB")
        .with_context(|| format!("{name} is not in kB"))?
        .trim()
        .parse()
        .with_context(|| format!("number of {name}"))?;
    kib.checked_mul(1024).with_context(|| format!("{name} is too large"))
}

/// Bytes that were written to disk, from the text of `/proc/PID/io`.
pub fn parse_written(io: &str) -> anyhow::Result<u64> {
    field(io, "write_bytes")?.parse().context("number of write_bytes")
}

fn field<'a>(text: &'a str, name: &str) -> anyhow::Result<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .with_context(|| format!("no line {name}"))
}

/// User and system CPU of a process so far, in steps of 10 ms.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    parse_cpu(&read(&pid.to_string(), "stat")?, rustix::param::clock_ticks_per_second())
}

/// User and system CPU of this process so far.
pub fn own_cpu() -> anyhow::Result<Duration> {
    parse_cpu(&read("self", "stat")?, rustix::param::clock_ticks_per_second())
}

/// Resident memory now.
pub fn rss(pid: u32) -> anyhow::Result<u64> {
    parse_memory(&read(&pid.to_string(), "status")?, "VmRSS")
}

/// Largest resident memory since the start or the last [`reset_rss_peak`].
pub fn rss_peak(pid: u32) -> anyhow::Result<u64> {
    parse_memory(&read(&pid.to_string(), "status")?, "VmHWM")
}

/// Makes the peak start again at what is resident now; says whether the system allows it.
pub fn reset_rss_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// Bytes that the process caused to be written to disk.
pub fn written(pid: u32) -> anyhow::Result<u64> {
    parse_written(&read(&pid.to_string(), "io")?)
}

fn read(pid: &str, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (a b) (c)) S 1 4242 4242 0 -1 4194560 1500 0 3 0 731 269 5 6 20 0 9 0 \
                        123456 1000000 5000 18446744073709551615 1 1 0 0 0 0 0 0 0";
    const STATUS: &str = "Name:\tetcd\nVmPeak:\t  900 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  100 kB\n";
    const IO: &str = "rchar: 5\nwchar: 6\nread_bytes: 0\nwrite_bytes: 8192\n\
                      cancelled_write_bytes: 4096\n";

    #[test]
    fn cpu_is_user_plus_system_time() {
        assert_eq!(parse_cpu(STAT, 100).unwrap(), Duration::from_secs(10));
        assert_eq!(parse_cpu(STAT, 1000).unwrap(), Duration::from_secs(1));
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(parse_memory(STATUS, "VmHWM").unwrap(), 123_456 * 1024);
        assert_eq!(parse_memory(STATUS, "VmRSS").unwrap(), 100 * 1024);
    }

    #[test]
    fn written_is_the_line_of_that_name_only() {
        assert_eq!(parse_written(IO).unwrap(), 8192);
    }

    #[test]
    fn texts_that_lack_something_are_errors() {
        assert!(parse_cpu("1 (x) S 1 2", 100).is_err());
        assert!(parse_cpu("", 100).is_err());
        assert!(parse_cpu(STAT, 0).is_err());
        assert!(parse_memory(STATUS, "VmSwap").is_err());
        assert!(parse_memory("VmHWM: 99999999999999999999 kB", "VmHWM").is_err());
        assert!(parse_memory("VmHWM: 5 MB", "VmHWM").is_err());
        assert!(parse_written("cancelled_write_bytes: 4096\n").is_err());
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(rss(pid).unwrap() > 0);
        assert!(rss_peak(pid).unwrap() >= rss(pid).unwrap() / 2);
        assert!(cpu(pid).unwrap() <= own_cpu().unwrap());
    }
}
