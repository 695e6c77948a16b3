//! The ONNX Runtime library, and what really runs the networks.

use std::path::Path;

use serde_json::Value;

use super::{Context, Finding, Subject};
use crate::card::Card;
use crate::config::Settings;
use crate::identify::IdentifierSource;
use crate::networks::Networks;
use crate::paths;
use crate::runtime::{Provider, ProviderInUse, Runtime, RuntimeError, telemetry};

/// The library: found, loads, says nothing home.
pub(super) fn library(settings: &Settings, _: &Context) -> Vec<Finding> {
    let path = paths::runtime_library(settings.runtime.library.as_deref());
    if let Err(error) = Runtime::load(&settings.runtime) {
        return vec![Finding::failed(
            Subject::Runtime,
            "",
            error.to_string(),
            runtime_mend(&error),
        )];
    }
    let version = version(&path).unwrap_or_else(|| "of an unknown version".to_owned());
    let telemetry = if telemetry::is_off() {
        Finding::ok(Subject::Runtime, "telemetry", "off")
    } else {
        Finding::failed(
            Subject::Runtime,
            "telemetry",
            "the library may send usage data",
            format!("set {}=1", telemetry::VARIABLE),
        )
    };
    vec![
        Finding::ok(Subject::Runtime, "", format!("{version}, {}", path.display())),
        telemetry,
    ]
}

/// The version that the library was linked as; its own words about its build name a commit only.
fn version(library: &Path) -> Option<String> {
    const MARK: &[u8] = b"VERS_1.";
    let bytes = std::fs::read(library).ok()?;
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let rest = bytes.get(at..)?.iter().take(16);
    let digits = rest.take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
    Some(format!(
        "1.{}",
        digits.map(|byte| char::from(*byte)).collect::<String>()
    ))
}

fn runtime_mend(error: &RuntimeError) -> String {
    match error {
        RuntimeError::Telemetry => format!("set {}=1", telemetry::VARIABLE),
        RuntimeError::Library { .. } | RuntimeError::Environment(_) => {
            "name the library with `runtime.library` or KITH_RUNTIME_LIBRARY: ONNX Runtime 1.17 or newer of this machine's \
             kind; in a checkout `cargo xtask models` brings it"
                .to_owned()
        }
        RuntimeError::Provider { .. } | RuntimeError::NoCard { .. } => {
            "look at the driver (`nvidia-smi`) and at `runtime.library`, which has to be built with CUDA; to go on without \
             the card set `runtime.provider = \"auto\"` and `runtime.when_card_is_lost = \"cpu\"`"
                .to_owned()
        }
        RuntimeError::ExternalData { .. } | RuntimeError::Network { .. } => {
            "give the catalogue a network that is one file and that this runtime knows; see the lines about models".to_owned()
        }
    }
}

/// The networks, opened on the provider that was asked for.
pub(super) fn provider(settings: &Settings, context: &Context) -> Vec<Finding> {
    let mut runtime = settings.runtime.clone();
    let mut findings = Vec::new();
    match IdentifierSource::open(&settings.identify_by, &mut runtime) {
        Ok(IdentifierSource::Head(head)) => {
            let head = head.model();
            findings.push(Finding::ok(
                Subject::Provider,
                format!("head {}", head.name),
                format!("{} people, on {}", head.classes.len(), head.embedder),
            ));
        }
        Ok(IdentifierSource::Gallery { .. }) => {}
        Err(error) => findings.push(Finding::failed(
            Subject::Provider,
            "identify",
            format!("{error:#}"),
            "correct `identify.by` or `identify.embedder`, or install the head again; see the lines about models",
        )),
    }
    // A second set of networks would take memory of the card from the daemon, and say nothing of what that one does.
    if let Some(status) = super::daemon::status(context) {
        findings.extend(in_daemon(runtime.provider, &status));
        return findings;
    }
    match Networks::open(&runtime) {
        Ok(networks) => findings.extend(in_use(runtime.provider, &networks.provider, Card::find().as_ref())),
        Err(error) => {
            let mend = error
                .downcast_ref::<RuntimeError>()
                .map_or_else(|| "see the lines about models".to_owned(), runtime_mend);
            findings.push(Finding::failed(Subject::Provider, "", format!("{error:#}"), mend));
        }
    }
    findings
}

/// What the running daemon says of its networks.
fn in_daemon(wish: Provider, status: &Value) -> Vec<Finding> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let seen = format!("{}, in the running daemon", text(&status["provider"]));
    let on_cpu = text(&status["provider"]).starts_with("cpu");
    let mut findings = vec![if let Some(lost) = status["lost"].as_str() {
        Finding::warning(
            Subject::Provider,
            "",
            format!("{seen}; {lost}"),
            "look at the card (`nvidia-smi`, `dmesg`), and start the daemon again once it is well: `sudo systemctl restart kith`",
        )
    } else if on_cpu && matches!(wish, Provider::Cuda | Provider::Tensorrt) {
        Finding::warning(
            Subject::Provider,
            "",
            format!("{seen}, though {wish} was asked for"),
            NO_CARD,
        )
    } else {
        Finding::ok(Subject::Provider, "", seen)
    }];
    for network in status["networks"].as_array().into_iter().flatten() {
        let seen = format!("{}, in the running daemon", text(&network["provider"]));
        findings.push(Finding::ok(Subject::Provider, text(&network["network"]), seen));
    }
    findings
}

/// What to do where the processor does what a card should.
const NO_CARD: &str = "look at the driver (`nvidia-smi`) and give `runtime.library` a library with CUDA, or set \
                       `runtime.provider = \"cpu\"` if that is meant";

/// What runs the networks, and a line for each network with the proof.
fn in_use(wish: Provider, used: &ProviderInUse, card: Option<&Card>) -> Vec<Finding> {
    let seen = match card {
        Some(card) => format!("{used}; card: {card}"),
        None => used.to_string(),
    };
    let wanted = match wish {
        Provider::Auto => card.is_some(),
        Provider::Cuda | Provider::Tensorrt => true,
        Provider::Cpu => false,
    };
    let idle = wanted && used.provider == Provider::Cpu;
    let mut findings = vec![if idle {
        Finding::warning(Subject::Provider, "", seen, NO_CARD)
    } else {
        Finding::ok(Subject::Provider, "", seen)
    }];
    for proof in &used.networks {
        let said = proof.to_string();
        let words = said.split_once(" on ").map_or(said.as_str(), |(_, words)| words);
        findings.push(Finding::ok(Subject::Provider, proof.network, words));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::State;
    use crate::runtime::{NetworkProof, Proven};

    #[test]
    fn a_card_that_the_daemon_lost_is_a_warning() {
        let networks = serde_json::json!([{"network": "pnet", "provider": "cpu"}]);
        for (wish, lost, state) in [
            (Provider::Auto, Some("cuda was lost while it worked"), State::Warning),
            (Provider::Cuda, None, State::Warning),
            (Provider::Auto, None, State::Ok),
        ] {
            let status = serde_json::json!({"provider": "cpu", "lost": lost, "networks": networks});
            let findings = in_daemon(wish, &status);
            assert_eq!(findings[0].state, state, "{wish} {lost:?}");
            assert_eq!(findings[1].about, "pnet");
        }
    }

    #[test]
    fn a_card_that_does_nothing_is_a_warning() {
        let card = Card::made_up();
        let used = |provider| ProviderInUse {
            provider,
            passed_over: Vec::new(),
            networks: vec![NetworkProof {
                network: "pnet",
                provider,
                proven: Proven::EveryNode { nodes: 14 },
            }],
            card: None,
            lost: None,
        };
        for (wish, provider, card, state) in [
            (Provider::Auto, Provider::Cpu, Some(&card), State::Warning),
            (Provider::Cpu, Provider::Cpu, Some(&card), State::Ok),
            (Provider::Auto, Provider::Cpu, None, State::Ok),
            (Provider::Auto, Provider::Cuda, Some(&card), State::Ok),
            (Provider::Cuda, Provider::Cpu, None, State::Warning),
        ] {
            let findings = in_use(wish, &used(provider), card);
            assert_eq!(findings[0].state, state, "{wish} {provider}");
            assert_eq!(findings[1].seen, format!("{provider} (all 14 nodes of a run)"));
        }
    }
}
