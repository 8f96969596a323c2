//! `process_*` and `os_fd_*`: what the kernel says about this process.

use std::fs;

use prometheus::{Counter, Gauge, IntGauge};

use super::families::Families;

/// Ticks per second of `/proc/self/stat`; the kernel's interface fixes it at 100 whatever the
/// timer of the machine does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Handles of `process_*` and `os_fd_*`, all read at render time.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    cpu_seconds: Counter,
    open_fds: IntGauge,
    max_fds: IntGauge,
    resident_bytes: IntGauge,
    virtual_bytes: IntGauge,
    start_seconds: Gauge,
    threads: IntGauge,
    os_fd_used: IntGauge,
    os_fd_limit: IntGauge,
}

/// One reading. What cannot be read is missing, and the metric keeps its last value.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) start_seconds: Option<f64>,
    pub(super) resident_bytes: Option<i64>,
    pub(super) virtual_bytes: Option<i64>,
    pub(super) threads: Option<i64>,
    pub(super) open_fds: Option<i64>,
    pub(super) max_fds: Option<i64>,
}

impl ProcessMetrics {
    pub(super) fn new(f: &Families<'_>) -> ProcessMetrics {
        ProcessMetrics {
            cpu_seconds: f
                .seconds_counter("process_cpu_seconds_total", "processor time, user and system"),
            open_fds: f.gauge("process_open_fds", "open file descriptors"),
            max_fds: f.gauge("process_max_fds", "limit of open file descriptors"),
            resident_bytes: f.gauge("process_resident_memory_bytes", "memory in use"),
            virtual_bytes: f.gauge("process_virtual_memory_bytes", "address space in use"),
            start_seconds: f.real_gauge("process_start_time_seconds", "start, in Unix seconds"),
            threads: f.gauge("process_threads", "threads"),
            os_fd_used: f.gauge("os_fd_used", "open file descriptors"),
            os_fd_limit: f.gauge("os_fd_limit", "limit of open file descriptors"),
        }
    }

    pub(super) fn refresh(&self) {
        self.set(&Reading::take());
    }

    fn set(&self, now: &Reading) {
        if let Some(seconds) = now.cpu_seconds {
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        if let Some(seconds) = now.start_seconds {
            self.start_seconds.set(seconds);
        }
        for (gauge, value) in [
            (&self.resident_bytes, now.resident_bytes),
            (&self.virtual_bytes, now.virtual_bytes),
            (&self.threads, now.threads),
            (&self.open_fds, now.open_fds),
            (&self.max_fds, now.max_fds),
            (&self.os_fd_used, now.open_fds),
            (&self.os_fd_limit, now.max_fds),
        ] {
            if let Some(value) = value {
                gauge.set(value);
            }
        }
    }
}

impl Reading {
    fn take() -> Reading {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Reading {
            // The folder being read is itself one of the descriptors.
            open_fds: open.and_then(|n| i64::try_from(n.saturating_sub(1)).ok()),
            ..Reading::of(
                &text("/proc/self/stat"),
                &text("/proc/stat"),
                &text("/proc/self/status"),
                &text("/proc/self/limits"),
            )
        }
    }

    /// From the texts of the kernel's files.
    pub(super) fn of(stat: &str, boot: &str, status: &str, limits: &str) -> Reading {
        // The second field is the program's name in parentheses and may hold anything.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
        // Counted from 1 in the manual, where the state is field 3 and here field 0.
        let (user, system, start) = (ticks(11), ticks(12), ticks(19));
        let boot = after(boot, "btime").and_then(|text| text.parse::<f64>().ok());
        let kilobytes = |key| number(status, key).and_then(|kb| kb.checked_mul(1024));
        Reading {
            cpu_seconds: user.zip(system).map(|(u, s)| (u + s) / TICKS_PER_SECOND),
            start_seconds: boot.zip(start).map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            threads: number(status, "Threads:"),
            open_fds: None,
            max_fds: number(limits, "Max open files"),
        }
    }
}

/// The word after a key at a line's start.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()
}

fn number(text: &str, key: &str) -> Option<i64> {
    after(text, key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_files() {
        let reading = Reading::of(
            "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1000 1 2 3",
            "cpu 1 2 3\nbtime 1700000000\nprocesses 4\n",
            "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t9\n",
            "Limit Soft Hard Units\nMax open files            1024      4096      files\n",
        );
        let wanted = Reading {
            cpu_seconds: Some(2.0),
            start_seconds: Some(1_700_000_010.0),
            resident_bytes: Some(1 << 20),
            virtual_bytes: Some(2 << 20),
            threads: Some(9),
            open_fds: None,
            max_fds: Some(1024),
        };
        assert_eq!(reading, wanted);
    }

    #[test]
    fn odd_files_leave_values_out() {
        assert_eq!(Reading::of("", "", "", ""), Reading::default());
        let odd = Reading::of(
            ") S x",
            "btime",
            "VmRSS: 9999999999999999999 kB",
            "Max open files unlimited",
        );
        assert_eq!(odd, Reading::default());
        let huge = Reading::of("", "", "VmRSS: 9223372036854775807 kB", "");
        assert_eq!(huge.resident_bytes, None);
    }
}
