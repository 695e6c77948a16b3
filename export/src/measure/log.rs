//! The log of a training run: one JSON object a line, one line an epoch.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One epoch. Fields that a kind of training doesn't have are left out; unknown ones are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counted from 1.
    pub epoch: u32,
    /// Mean training loss.
    pub loss: f64,
    /// Share of training examples judged rightly, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accuracy: Option<f64>,
    /// Loss on held-out faces.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub val_loss: Option<f64>,
    /// Share of held-out faces named rightly, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub val_accuracy: Option<f64>,
    /// Of the optimiser, at the epoch's end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub learning_rate: Option<f64>,
    /// Wall-clock time of the epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seconds: Option<f64>,
    /// Faces trained on a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub faces_per_second: Option<f64>,
    /// Share of the time in which training waited for data, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waited: Option<f64>,
}

/// Reads a log. A last line without an end is passed over: the run was stopped while it wrote. An epoch that is there
/// twice (a resumed run wrote it again) counts as it was written last.
///
/// # Errors
/// Names the file and the line that is no epoch.
pub fn read_log(path: &Path) -> anyhow::Result<Vec<LogLine>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read the log {}", path.display()))?;
    parse(&text).with_context(|| format!("the log {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<LogLine>> {
    let mut lines: Vec<LogLine> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<LogLine>(line) {
            Ok(epoch) => {
                lines.retain(|before| before.epoch < epoch.epoch);
                lines.push(epoch);
            }
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(error).with_context(|| format!("line {} is no epoch", index + 1)),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_as_it_was_written_even_when_cut_and_resumed() {
        let epoch = |epoch: u32, loss: f64| LogLine {
            epoch,
            loss,
            val_accuracy: Some(0.5),
            ..LogLine::default()
        };
        let mut text = String::new();
        for line in [epoch(1, 0.9), epoch(2, 0.8), epoch(3, 0.7), epoch(2, 0.75)] {
            text += &serde_json::to_string(&line).unwrap();
            text.push('\n');
        }
        assert!(!text.contains("seconds"));
        assert_eq!(parse(&text).unwrap(), [epoch(1, 0.9), epoch(2, 0.75)]);
        assert_eq!(parse(&(text.clone() + "{\"epoch\":3,\"lo")).unwrap().len(), 2);
        let error = format!("{:#}", parse(&("{\"epoch\":3,\"lo\n".to_string() + &text)).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
    }
}
