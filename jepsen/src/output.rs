//! What goes to the terminal: results to stdout, progress to stderr.

/// A line of results.
#[expect(clippy::print_stdout, reason = "results are what the program is for")]
pub fn result(text: impl std::fmt::Display) {
    println!("{text}");
}

/// A line that tells somebody who waits what is going on.
#[expect(clippy::print_stderr, reason = "results alone go to stdout")]
pub fn progress(text: impl std::fmt::Display) {
    eprintln!("{text}");
}
