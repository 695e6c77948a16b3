//! `deploy/docker/versions.env`, which a shell reads too.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;

/// Where it lies.
pub(crate) const FILE: &str = "deploy/docker/versions.env";

/// Names and values.
///
/// # Errors
/// When the file can't be read, or has a line that isn't `NAME=VALUE` with a value that needs nothing from a shell.
pub(crate) fn read(checkout: &Checkout) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(checkout.path(FILE)).with_context(|| format!("can't read {FILE}"))?;
    parse(&text).with_context(|| format!("in {FILE}"))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line
            .split_once('=')
            .with_context(|| format!("{line} is not NAME=VALUE"))?;
        let inside = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = match inside {
            Some(inside) => inside,
            None if value.contains(' ') => bail!("{line}: several words need quotes"),
            None => value,
        };
        if value.contains(['$', '`', '"', '\\', '\'']) {
            bail!("{line}: a value has to mean the same to everybody who reads it");
        }
        if all.insert(name.to_owned(), value.to_owned()).is_some() {
            bail!("{name} is there twice");
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn words_and_lists_are_read_and_surprises_refused() {
        let all = parse("# comment\nA=1\n\nB=\"x=1 y=2\"\n").unwrap();
        assert_eq!((all["A"].as_str(), all["B"].as_str()), ("1", "x=1 y=2"));
        for bad in ["A", "A=b c", "A=$B", "A=1\nA=2", "A=\"b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
