//! Prints what a Keelson log holds.

use std::error::Error as _;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keelson_wal::disk::RealDisk;
use keelson_wal::dump::{Detail, DumpError, dump};

/// Print what a Keelson log holds, and how the node would judge it.
///
/// The log is only read, never changed, and not locked: a stopped node's folder, a copy of it,
/// or a running node's folder will do (a frame being written meanwhile may look torn).
#[derive(Debug, Parser)]
#[command(
    name = "wal-dump",
    version,
    after_long_help = "\
Reading the output:
  segment   one file; 'next index', 'purged' and 'last' are the log's state when it was begun
  frame     what one fdatasync made durable; 'durable up to' is what was safe before it
  record    entry TERM/INDEX, vote, committed mark, truncation, purge, or clean shutdown
  @N        the byte offset in the segment file

Exit status:
  0   the log would open; a torn tail (a write that a crash interrupted before anybody was told
      that it succeeded) is reported and is no damage
  1   the log would be refused: corrupt, of another version, or unreadable; the message names
      the segment and the offset, and everything before that place was printed
  2   the command line is wrong

Examples:
  wal-dump /var/lib/keelson/wal                 a summary of each segment and of the whole log
  wal-dump --records --payload 64 DIR | less    every record with the start of its payload"
)]
struct Args {
    /// Folder of the log (the one with the .wal files).
    dir: PathBuf,

    /// Print a line for each frame.
    #[arg(long)]
    frames: bool,

    /// Print a line for each record (and each frame).
    #[arg(long)]
    records: bool,

    /// With --records, show up to this many bytes of each payload, with what is not text escaped.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    payload: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let detail = Detail {
        frames: args.frames || args.records,
        records: args.records,
        payload_bytes: args.payload,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let dumped = dump(&RealDisk, &args.dir, detail, &mut out);
    let flushed = out.flush();
    match dumped.and_then(|()| flushed.map_err(DumpError::from)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(DumpError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = match &error {
                DumpError::Log(log) => log.source().map(|cause| format!(": {cause}")),
                DumpError::Output(cause) => Some(format!(": {cause}")),
            };
            let text = format!("wal-dump: {error}{}\n", cause.unwrap_or_default());
            drop(io::stderr().write_all(text.as_bytes()));
            ExitCode::FAILURE
        }
    }
}
