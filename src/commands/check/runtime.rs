//! The ONNX Runtime library, and what really runs the networks.

use std::path::Path;

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
pub(super) fn provider(settings: &Settings, _: &Context) -> Vec<Finding> {
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

/// What runs the networks, and a line for each network with the proof.
fn in_use(wish: Provider, used: &ProviderInUse, card: Option<&Card>) -> Vec<Finding> {
    let seen = match card {
        Some(card) => format!("{used}; card: {card}"),
        None => used.to_string(),
    };
    let idle = card.is_some() && wish == Provider::Auto && used.provider == Provider::Cpu;
    let mut findings = vec![if idle {
        Finding::warning(
            Subject::Provider,
            "",
            seen,
            "there is a card, and the processor does the work: give `runtime.library` a library with CUDA, or set \
             `runtime.provider = \"cpu\"` if that is meant",
        )
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
    fn a_card_that_does_nothing_is_a_warning() {
        let card = Card {
            name: "NVIDIA T4".to_owned(),
            memory_mib: None,
            driver: "550".to_owned(),
            compute_capability: None,
            uuid: None,
        };
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
        ] {
            let findings = in_use(wish, &used(provider), card);
            assert_eq!(findings[0].state, state, "{wish} {provider}");
            assert_eq!(findings[1].seen, format!("{provider} (all 14 nodes of a run)"));
        }
    }
}
