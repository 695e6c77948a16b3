//! The pairs files of Labeled Faces in the Wild (`pairsDevTest.txt`): which photos to compare.
//!
//! After a first line of counts, a line `NAME n m` is a pair of one person, `NAME n OTHER m` one of two people; the
//! photos are `NAME/NAME_000n.jpg`. Source: the set's README.
//!
//! A folds file says in which fold each person is: a line of names for each fold; `#` begins a comment line.

use std::collections::HashMap;

/// A photo as a pairs file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoName {
    /// The person's name, which is also the folder's.
    pub person: String,
    /// Counted from 1.
    pub number: u32,
}

impl PhotoName {
    /// The photo's path below the folder of people, with `/`.
    pub fn file(&self) -> String {
        format!("{0}/{0}_{1:04}.jpg", self.person, self.number)
    }
}

/// A line that is no pair.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: can't read the pair {text:?}; a pair is \"NAME n m\" or \"NAME n OTHER m\"")]
pub struct PairsFileError {
    /// Counted from 1.
    pub line: usize,
    /// The line as it is.
    pub text: String,
}

/// Reads the pairs of a file; its first line, the counts, is passed over.
///
/// # Errors
/// Names the first line that is no pair.
pub fn parse(text: &str) -> Result<Vec<[PhotoName; 2]>, PairsFileError> {
    text.lines()
        .enumerate()
        .skip(1)
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            pair(line).ok_or_else(|| PairsFileError {
                line: index + 1,
                text: line.to_string(),
            })
        })
        .collect()
}

/// A name that is twice in a folds file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is there twice; each person is in one fold")]
pub struct FoldsFileError(pub String);

/// Reads a folds file: the fold of each name, counted from 0.
///
/// # Errors
/// Names the first name that is there twice.
pub fn parse_folds(text: &str) -> Result<HashMap<String, usize>, FoldsFileError> {
    let mut fold_of = HashMap::new();
    for (fold, line) in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .enumerate()
    {
        for name in line.split_whitespace() {
            if fold_of.insert(name.to_string(), fold).is_some() {
                return Err(FoldsFileError(name.to_string()));
            }
        }
    }
    Ok(fold_of)
}

fn pair(line: &str) -> Option<[PhotoName; 2]> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ((person_a, a), (person_b, b)) = match words[..] {
        [person, a, b] => ((person, a), (person, b)),
        [person_a, a, person_b, b] => ((person_a, a), (person_b, b)),
        _ => return None,
    };
    let photo = |person: &str, number: &str| {
        Some(PhotoName {
            person: person.to_string(),
            number: number.parse().ok()?,
        })
    };
    Some([photo(person_a, a)?, photo(person_b, b)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_pair_are_read_and_a_bad_line_is_named() {
        let pairs = parse("1\nAda_L\t3\t12\n\nAda_L\t1\tBob\t2\n").unwrap();
        let files: Vec<[String; 2]> = pairs.iter().map(|pair| [pair[0].file(), pair[1].file()]).collect();
        assert_eq!(files[0], ["Ada_L/Ada_L_0003.jpg", "Ada_L/Ada_L_0012.jpg"]);
        assert_eq!(files[1], ["Ada_L/Ada_L_0001.jpg", "Bob/Bob_0002.jpg"]);
        for bad in ["Ada\t1", "Ada\tone\t2", "Ada\t1\tBob\t2\t3"] {
            let error = parse(&format!("1\nAda\t1\t2\n{bad}\n")).unwrap_err();
            assert_eq!((error.line, error.text.as_str()), (3, bad));
        }
    }

    #[test]
    fn folds_are_counted_by_lines_of_names() {
        let folds = parse_folds("# people\nAda Bob\n\nCy\n").unwrap();
        assert_eq!((folds["Ada"], folds["Bob"], folds["Cy"], folds.len()), (0, 0, 1, 3));
        assert_eq!(parse_folds("Ada Bob\nAda\n"), Err(FoldsFileError("Ada".into())));
    }
}
