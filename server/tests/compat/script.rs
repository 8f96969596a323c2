//! The scripts of `etcdctl` commands: reading them.

/// One command of a script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// As written.
    pub(crate) text: String,
    pub(crate) args: Vec<String>,
    pub(crate) stdin: String,
}

impl Command {
    /// Whether the words come in this order, others between them.
    pub(crate) fn starts_with(&self, words: &[&str]) -> bool {
        self.args.iter().take(words.len()).eq(words)
    }

    /// The value of `-w`, or "simple".
    pub(crate) fn format(&self) -> &str {
        let mut args = self.args.iter();
        args.find(|arg| *arg == "-w").and(args.next()).map_or("simple", String::as_str)
    }
}

pub(crate) fn parse(script: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (text, stdin) = match line.strip_suffix(" <<") {
            None => (line, String::new()),
            Some(text) => {
                let input = lines.by_ref().take_while(|line| *line != "EOF");
                (text, input.flat_map(|line| [line, "\n"]).collect())
            }
        };
        commands.push(Command { text: text.to_owned(), args: words(text), stdin });
    }
    commands
}

/// Words between spaces; single quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut is_open = false;
    let mut has_word = false;
    for c in line.chars() {
        match c {
            '\'' => (is_open, has_word) = (!is_open, true),
            ' ' if !is_open => {
                if std::mem::take(&mut has_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                has_word = true;
                word.push(c);
            }
        }
    }
    assert!(!is_open, "a quote is not closed: {line}");
    if has_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_comments_quotes_and_input() {
        let commands = parse("# note\n\nput 'a b' ''\ntxn -w json <<\nx\n\ny\nEOF\nget a\n");
        assert_eq!(commands.len(), 3);
        assert_eq!(commands[0].args, ["put", "a b", ""]);
        assert_eq!((commands[1].stdin.as_str(), commands[1].format()), ("x\n\ny\n", "json"));
        assert_eq!(commands[2].args, ["get", "a"]);
    }
}
