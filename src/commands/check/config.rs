//! The configuration: all mistakes at once.

use super::{Context, Finding, Subject};
use crate::config::ConfigError;

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let file = context.file.display();
    match &context.loaded {
        Ok(settings) => {
            let cameras = settings.cameras.len();
            let s = if cameras == 1 { "" } else { "s" };
            vec![Finding::ok(Subject::Config, "", format!("{file}, {cameras} camera{s}"))]
        }
        Err(ConfigError::Mistakes { mistakes, .. }) => mistakes
            .iter()
            .map(|mistake| {
                Finding::failed(
                    Subject::Config,
                    "",
                    mistake.to_string(),
                    format!(
                        "correct `{}` in {file}; docs/reference/config.md explains every key",
                        mistake.key
                    ),
                )
            })
            .collect(),
        Err(error @ ConfigError::Unreadable { .. }) => vec![Finding::failed(
            Subject::Config,
            "",
            error.to_string(),
            unreadable(context),
        )],
    }
}

fn unreadable(context: &Context) -> String {
    let file = context.file.display();
    match std::fs::File::open(&context.file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "name the file with --config FILE, or write one: deploy/kith.toml is an example".to_owned()
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            format!("`sudo kith check --config {file}`")
        }
        _ => format!("correct the line of {file} that the message names"),
    }
}
