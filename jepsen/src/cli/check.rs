//! `check`: histories that were kept, judged again.

use std::path::PathBuf;
use std::time::Duration;

use super::{Format, duration};
use crate::checker::check_all;
use crate::history::read;
use crate::output::result;
use crate::report::RoundReport;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Files that `run` has written
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Longest time for the search for an order
    #[arg(long, value_parser = duration, default_value = "60s")]
    check_time: Duration,
    /// Form of the results
    #[arg(short = 'w', long, value_enum, default_value = "text")]
    write_out: Format,
}

impl Options {
    pub(super) fn run(&self) -> anyhow::Result<bool> {
        let mut reports = Vec::new();
        for file in &self.files {
            let history = read(file)?;
            let verdicts = check_all(&history, self.check_time);
            let report = RoundReport::of(&history, verdicts, Some(file.clone()));
            if self.write_out == Format::Text {
                result(format_args!("{report:#}"));
            }
            reports.push(report);
        }
        if self.write_out == Format::Json {
            result(serde_json::to_string_pretty(&reports)?);
        }
        Ok(reports.iter().all(RoundReport::is_clean))
    }
}
