//! Names as people write them, and the ids made from them.

use std::fmt;

use deunicode::deunicode_with_tofu;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// Longest name, in Unicode scalar values after normalisation.
pub const MAX_NAME_CHARS: usize = 100;
/// Longest id before a suffix makes it unique.
const MAX_SLUG_CHARS: usize = 40;
/// The id of a person whose name leaves nothing after transliteration.
const NAMELESS: &str = "person";

/// A display name in any script: NFC, no spaces around it, 1 to [`MAX_NAME_CHARS`] characters, none of which steers a
/// terminal or the direction of text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or white space only.
    #[error("a name needs at least one visible character")]
    Empty,
    /// Longer than [`MAX_NAME_CHARS`].
    #[error("a name has at most {MAX_NAME_CHARS} characters, this one has {chars}")]
    TooLong {
        /// Unicode scalar values.
        chars: usize,
    },
    /// A line break, an escape, a change of the text's direction and the like.
    #[error("a name can't hold the control character U+{:04X}", u32::from(*.0))]
    Control(char),
}

impl Name {
    /// Normalises and checks `text`.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name: String = text.nfc().collect::<String>().trim().to_string();
        if let Some(steers) = name.chars().find(|c| c.is_control() || is_layout_control(*c)) {
            return Err(NameError::Control(steers));
        }
        let chars = name.chars().count();
        if chars > MAX_NAME_CHARS {
            return Err(NameError::TooLong { chars });
        }
        // Joiners are needed inside names (Persian, Indic scripts, emoji), but alone they show nothing.
        if name.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
            return Err(NameError::Empty);
        }
        Ok(Self(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The readable part of an id: `[a-z0-9_-]+`, not yet unique.
    pub(crate) fn slug(&self) -> String {
        let mut slug = String::new();
        for c in deunicode_with_tofu(&self.0, " ").chars() {
            match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '_') => slug.push(c),
                // An apostrophe belongs to the word: O'Neill becomes oneill.
                '\'' => {}
                _ if slug.is_empty() || slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        slug.truncate(MAX_SLUG_CHARS);
        let slug = slug.trim_matches('-');
        if slug.is_empty() {
            NAMELESS.to_string()
        } else {
            slug.to_string()
        }
    }
}

/// `base`, with a number behind it if need be, so that `is_taken` says no.
///
/// # Errors
/// Those of `is_taken`.
pub(super) fn unique_id<E>(base: &str, mut is_taken: impl FnMut(&str) -> Result<bool, E>) -> Result<String, E> {
    let mut id = base.to_string();
    let mut number = 2_u64;
    while is_taken(&id)? {
        id = format!("{base}-{number}");
        number += 1;
    }
    Ok(id)
}

/// Whether `id` has the form that topics need.
pub(crate) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Line and paragraph separators, and what embeds, overrides or isolates a direction.
fn is_layout_control(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFF9}'..='\u{FFFB}')
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn slug(name: &str) -> String {
        Name::parse(name).unwrap().slug()
    }

    #[test]
    fn slugs_are_readable() {
        for (name, expected) in [
            ("Alice", "alice"),
            ("  José  María ", "jose-maria"),
            ("O'Neill", "oneill"),
            ("Ångström/+#", "angstrom"),
            ("Юлия", "iuliia"),
            ("王小明", "wang-xiao-ming"),
            ("snake_case", "snake_case"),
            ("<script>", "script"),
            ("𓀀", "person"),
            ("---", "person"),
        ] {
            assert_eq!(slug(name), expected, "of {name:?}");
        }
        assert_eq!(slug(&"x".repeat(100)).len(), MAX_SLUG_CHARS);
    }

    #[test]
    fn one_name_in_two_encodings_is_one_name() {
        assert_eq!(Name::parse("Jose\u{301}").unwrap(), Name::parse("José").unwrap());
    }

    #[test]
    fn what_steers_a_terminal_or_shows_nothing_is_refused() {
        assert_eq!(Name::parse("a\nb"), Err(NameError::Control('\n')));
        assert_eq!(Name::parse("a\u{1b}[31m"), Err(NameError::Control('\u{1b}')));
        assert_eq!(Name::parse("a\u{202e}b"), Err(NameError::Control('\u{202e}')));
        assert_eq!(Name::parse(" \u{200d} "), Err(NameError::Empty));
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse(&"é".repeat(101)), Err(NameError::TooLong { chars: 101 }));
        assert!(
            Name::parse("علی\u{200c}رضا").is_ok(),
            "a joiner inside a name is part of it"
        );
    }

    proptest! {
        #[test]
        fn every_name_has_an_id_for_topics(text in "\\PC{0,120}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(is_id(&name.slug()), "{:?} -> {:?}", name, name.slug());
                prop_assert_eq!(Name::parse(name.as_str()).unwrap(), name, "parsing is idempotent");
            }
        }

        #[test]
        fn ids_are_unique(names in prop::collection::vec("[aAáÁ-]{1,3}", 1..30)) {
            let mut taken = HashSet::new();
            for name in names {
                let name = Name::parse(&name).unwrap();
                let id = unique_id(&name.slug(), |id| Ok::<_, Infallible>(taken.contains(id))).unwrap();
                prop_assert!(is_id(&id));
                prop_assert!(taken.insert(id));
            }
        }
    }
}
