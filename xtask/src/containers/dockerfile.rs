//! Dockerfiles, as far as ours use them: instructions, arguments, stages.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// A parsed Dockerfile.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    /// Arguments before the first stage, with their defaults.
    pub(crate) arguments: BTreeMap<String, String>,
    /// In the order of the file; the last one is the image.
    pub(crate) stages: Vec<Stage>,
}

/// From one FROM to the next.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What it begins with, as written: an image, or an earlier stage.
    pub(crate) base: String,
    /// As others call it.
    pub(crate) name: String,
    /// What follows.
    pub(crate) instructions: Vec<Instruction>,
}

/// One instruction, its continued lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Where it begins in the file, from 1.
    pub(crate) line: usize,
    /// In capitals.
    pub(crate) word: String,
    /// What follows the word.
    pub(crate) text: String,
}

impl Dockerfile {
    /// Reads the text of a Dockerfile.
    ///
    /// # Errors
    /// With the line that can't be understood.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut parsed = Self {
            arguments: BTreeMap::new(),
            stages: Vec::new(),
        };
        for instruction in instructions(text)? {
            let Instruction { line, word, text } = &instruction;
            match (word.as_str(), parsed.stages.last_mut()) {
                ("FROM", _) => parsed
                    .stages
                    .push(stage(text, parsed.stages.len()).with_context(|| format!("line {line}"))?),
                ("ARG", None) => {
                    let (name, default) = text.split_once('=').unwrap_or((text, ""));
                    parsed.arguments.insert(name.to_owned(), unquoted(default).to_owned());
                }
                (_, Some(stage)) => stage.instructions.push(instruction),
                (other, None) => bail!("line {line}: {other} before the first FROM"),
            }
        }
        Ok(parsed)
    }

    /// The stage of this name.
    pub(crate) fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The image that `stage` begins with in the end, through all stages between, where `given` are build arguments.
    pub(crate) fn image(&self, stage: &Stage, given: &BTreeMap<String, String>) -> String {
        let mut known = self.arguments.clone();
        known.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        let base = expand(&stage.base, &known);
        match self.stage(&base) {
            Some(earlier) => self.image(earlier, given),
            None => base,
        }
    }
}

impl Stage {
    /// The last instruction with this word, which is the one that counts.
    pub(crate) fn last(&self, word: &str) -> Option<&Instruction> {
        self.instructions.iter().rfind(|instruction| instruction.word == word)
    }

    /// The environment that it leaves, as written.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let all = self.instructions.iter().filter(|instruction| instruction.word == "ENV");
        all.flat_map(|instruction| pairs(&instruction.text)).collect()
    }
}

/// `NAME=VALUE NAME=VALUE`; our values have no spaces.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquoted(value).to_owned()))
        .collect()
}

/// The strings of an instruction in its JSON form.
///
/// # Errors
/// When it is in the other form.
pub(crate) fn strings(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).with_context(|| format!("{text} is no list of strings"))
}

/// `$NAME` and `${NAME}` in `text` by their values; unknown ones are empty, as with Docker.
pub(crate) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let (name, beyond) = braced.unwrap_or_else(|| {
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            after.split_at(end)
        });
        expanded.push_str(known.get(name).map_or("", String::as_str));
        rest = beyond;
    }
    expanded + rest
}

fn unquoted(text: &str) -> &str {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(text)
}

fn stage(text: &str, number: usize) -> Result<Stage> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (base, name) = match words[..] {
        [base] => (base, number.to_string()),
        [base, as_, name] if as_.eq_ignore_ascii_case("as") => (base, name.to_owned()),
        _ => bail!("FROM {text}: only `FROM IMAGE AS NAME` is understood"),
    };
    Ok(Stage {
        base: base.to_owned(),
        name,
        instructions: Vec::new(),
    })
}

fn instructions(text: &str) -> Result<Vec<Instruction>> {
    let mut all = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let mut whole = first.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            let begun = begun.trim_end().to_owned();
            // Comments and empty lines may stand between.
            let next = lines.by_ref().map(|(_, line)| line.trim());
            let mut next = next.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let next = next
                .next()
                .with_context(|| format!("line {}: it goes on nowhere", index + 1))?;
            whole = format!("{begun} {next}");
        }
        let (word, text) = whole
            .split_once(char::is_whitespace)
            .with_context(|| format!("line {}: {whole} stands alone", index + 1))?;
        all.push(Instruction {
            line: index + 1,
            word: word.to_uppercase(),
            text: text.trim().to_owned(),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Dockerfile, expand, pairs};

    const TEXT: &str = "\
# A comment.
ARG BASE=debian:12.1
ARG KIND=a
FROM ${BASE} AS build-a
FROM other:1 AS build-b
FROM build-${KIND} AS image
ENV ONE=1 \\
    # between
    TWO=\"2\"
RUN first \\
    && second
USER 990
";

    #[test]
    fn stages_arguments_and_continued_lines_are_read() {
        let file = Dockerfile::parse(TEXT).unwrap();
        let image = file.stage("image").unwrap();
        let given = |kind: &str| BTreeMap::from([("KIND".to_owned(), kind.to_owned())]);
        assert_eq!(file.image(image, &BTreeMap::new()), "debian:12.1");
        assert_eq!(file.image(image, &given("b")), "other:1");
        let run = image.last("RUN").unwrap();
        assert_eq!((run.line, run.text.as_str()), (10, "first && second"));
        assert_eq!(image.last("USER").unwrap().text, "990");
        let environment = image.environment();
        let as_text: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(as_text, ["ONE=1", "TWO=2"]);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        let refused = |text: &str| Dockerfile::parse(text).unwrap_err().to_string();
        assert!(refused("RUN x").contains("line 1"), "{}", refused("RUN x"));
        assert!(refused("FROM a\nRUN x \\").contains("line 2"));
        assert!(refused("FROM --platform=x a AS b").contains("line 1"));
    }

    #[test]
    fn variables_are_expanded_in_both_forms() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("$A-${A}x$B/${B}", &known), "1-1x/");
        assert_eq!(
            pairs("A=b C=\"d\""),
            [("A".into(), "b".into()), ("C".into(), "d".into())]
        );
    }
}
