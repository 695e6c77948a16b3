//! Whether a daemon runs, and how it is.

use std::path::PathBuf;

use serde_json::Value;

use super::{Context, Finding, Subject};
use crate::admin::{AdminError, Client, FILE_NAME, Verb, service_socket};

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let socket = socket(context);
    let connected = Client::connect_to(&socket);
    let status = match connected {
        Ok(None) => {
            let seen = format!(
                "none runs ({}); `systemctl start kith` or `kith run` starts one",
                socket.display()
            );
            return vec![Finding::not_checked(Subject::Daemon, "", seen)];
        }
        Ok(Some(mut client)) => client.ask::<Value>(&Verb::Status),
        Err(error) => Err(error),
    };
    match status {
        Ok(status) => told(&status),
        Err(error) => {
            let mend = match &error {
                AdminError::Connection { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                    MEMBER
                }
                AdminError::Refused(_) => MEMBER,
                AdminError::Answer { .. } => "start the daemon again with this version: `sudo systemctl restart kith`",
                _ => "look at its log (`journalctl -u kith -n 50`) and start it again: `sudo systemctl restart kith`",
            };
            vec![Finding::failed(Subject::Daemon, "", error.to_string(), mend)]
        }
    }
}

/// What the daemon that runs says of itself; `None` where none runs, or it doesn't let us.
pub(super) fn status(context: &Context) -> Option<Value> {
    Client::connect_to(&socket(context)).ok()??.ask(&Verb::Status).ok()
}

/// The socket of the daemon that is meant: the one that was named, that of the state folder, the service's.
pub fn socket(context: &Context) -> PathBuf {
    let own = context.state.join(FILE_NAME);
    match &context.common.socket {
        Some(socket) => socket.clone(),
        None if own.try_exists().unwrap_or(false) || !service_socket().exists() => own,
        None => service_socket(),
    }
}

const MEMBER: &str = "join the group that may ask it: `sudo usermod -aG kith \"$USER\"`, then log in again";

fn told(status: &Value) -> Vec<Finding> {
    let text = |key: &str| status[key].as_str().unwrap_or("?");
    let seen = format!("{} as {}, since {}", text("version"), text("node"), text("started"));
    let ours = env!("CARGO_PKG_VERSION");
    let mut findings = vec![if text("version") == ours {
        Finding::ok(Subject::Daemon, "", seen)
    } else {
        Finding::warning(
            Subject::Daemon,
            "",
            format!("{seen}, but this is {ours}"),
            "start it again, so that it is the version that is installed: `sudo systemctl restart kith`",
        )
    }];
    let missing: Vec<&str> = status["missing"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !missing.is_empty() {
        findings.push(Finding::warning(
            Subject::Daemon,
            "missing",
            format!("it runs without {}", missing.join(", ")),
            "see the lines about these, and its log: `journalctl -u kith -n 50`",
        ));
    }
    findings
}
