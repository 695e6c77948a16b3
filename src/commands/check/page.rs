//! The report of `kith check` for people: a line for each finding, and below it the mend.

use std::io::{IsTerminal, stdout};

use super::{Finding, State};

/// How lines are written.
pub(super) struct Page {
    /// Symbols in colours, on a terminal; words elsewhere.
    colours: bool,
}

impl Page {
    /// For standard output.
    pub(super) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colours: stdout().is_terminal() && !unwanted,
        }
    }

    /// A finding, with its mend in a line of its own.
    pub(super) fn finding(&self, finding: &Finding) -> String {
        let (mark, indent) = if self.colours {
            let (symbol, colour) = match finding.state {
                State::Ok => ('✓', 32),
                State::Warning => ('!', 33),
                State::Failed => ('✗', 31),
                State::NotChecked => ('-', 90),
            };
            (format!("\x1b[{colour}m{symbol}\x1b[0m"), 1)
        } else {
            let word = finding.state.word();
            (format!("{word:<11}"), 11)
        };
        let margin = " ".repeat(indent + 2);
        let seen = finding.seen.replace('\n', &format!("\n{margin}{:22}", ""));
        let mut text = format!("{mark}  {:<20}  {seen}", finding.place());
        if !finding.who.is_empty() {
            text += &format!(": {}", finding.who.join(", "));
        }
        if let Some(mend) = &finding.mend {
            text += &format!("\n{margin}{:20}  mend: {mend}", "");
        }
        text
    }

    /// The last line.
    pub(super) fn summary(&self, findings: &[Finding]) -> String {
        let count = |state| findings.iter().filter(|finding| finding.state == state).count();
        let warnings = count(State::Warning);
        format!(
            "\n{} ok, {warnings} warning{}, {} failed, {} not checked",
            count(State::Ok),
            if warnings == 1 { "" } else { "s" },
            count(State::Failed),
            count(State::NotChecked)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::Subject;

    #[test]
    fn a_mend_stands_below_what_is_wrong() {
        let finding = Finding::failed(Subject::Camera, "door", "no\nanswer", "switch it on");
        let plain = Page { colours: false }.finding(&finding);
        let margin = " ".repeat(35);
        let expected = format!("failed       camera door           no\n{margin}answer\n{margin}mend: switch it on");
        assert_eq!(plain, expected);
        let coloured = Page { colours: true }.finding(&finding);
        assert!(coloured.starts_with("\x1b[31m✗\x1b[0m  camera door"), "{coloured}");
    }
}
