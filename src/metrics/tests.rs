use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::event::EventKind;
use crate::runtime::{Lost, NetworkProof, Proven, Provider};

fn instruments() -> Arc<Instruments> {
    let cameras = Roster::default();
    let slot = Arc::new(Slot::default());
    slot.tally().event(&EventKind::Unknown);
    cameras.set(vec![("door".into(), slot)]);
    Arc::new(Instruments {
        started: Timestamp::now(),
        heartbeats: Heartbeats::default(),
        silence: Duration::from_secs(60),
        cameras,
        engine: Arc::default(),
        outbox: Depth::default(),
        connection: Connection::default(),
        people: AtomicUsize::new(3),
        open: RwLock::default(),
    })
}

fn in_use(provider: Provider, lost: Option<Lost>) -> ProviderInUse {
    ProviderInUse {
        provider,
        passed_over: Vec::new(),
        networks: vec![NetworkProof {
            network: "pnet",
            provider,
            proven: Proven::EveryNode { nodes: 14 },
        }],
        card: None,
        lost,
    }
}

/// Name, type and meaning of each figure.
fn described(page: &str) -> Vec<(String, String, String)> {
    let mut helps = BTreeMap::new();
    let mut all = Vec::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help);
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.push((name.to_owned(), kind.to_owned(), helps[name].to_owned()));
        }
    }
    all
}

/// `KITH_UPDATE_DOCS=1` writes the table of the page instead.
#[test]
fn the_http_reference_page_has_every_figure() {
    const FROM: &str = "<!-- from here: made from the code -->\n";
    const TO: &str = "<!-- to here -->\n";
    let instruments = instruments();
    instruments.set_open(&in_use(Provider::Cpu, None), &"model".into());
    let mut table = "| figure | type | |\n| --- | --- | --- |\n".to_owned();
    for (name, kind, help) in described(&page(&instruments).unwrap()) {
        table += &format!("| `{name}` | {kind} | {help} |\n");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/http.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(FROM).unwrap();
    let (_, after) = rest.split_once(TO).unwrap();
    let made = format!("{before}{FROM}{table}{TO}{after}");
    if std::env::var_os("KITH_UPDATE_DOCS").is_some() {
        fs::write(&file, &made).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == made,
        "{} differs from the figures; run this test with KITH_UPDATE_DOCS=1 and look at the change",
        file.display()
    );
}

#[test]
fn a_daemon_is_ready_when_nothing_is_missing() {
    let instruments = instruments();
    assert_eq!(instruments.missing(), ["networks", "broker"]);
    assert_eq!(
        instruments.line(),
        "0 of 1 cameras deliver, 3 people enrolled, no broker, 0 events wait, networks not open"
    );
    instruments.set_open(&in_use(Provider::Cuda, None), &"model".into());
    assert_eq!(instruments.missing(), ["broker"]);
    assert!(instruments.line().ends_with(", cuda"), "{}", instruments.line());
}

#[test]
fn a_lost_card_is_in_the_figures_and_in_the_line() {
    let instruments = instruments();
    instruments.set_open(&in_use(Provider::Cuda, None), &"model".into());
    let before = page(&instruments).unwrap();
    let on =
        |provider| format!("kith_network_provider{{network=\"pnet\",provider=\"{provider}\",proven=\"every_node\"}} 1");
    assert!(
        before.contains(&on("cuda")) && before.contains("kith_card_lost 0"),
        "{before}"
    );
    instruments.set_open(
        &in_use(Provider::Cpu, Some(Lost::AtWork(Provider::Cuda))),
        &"model".into(),
    );
    let after = page(&instruments).unwrap();
    assert!(
        after.contains(&on("cpu")) && after.contains("kith_card_lost 1"),
        "{after}"
    );
    assert!(!after.contains(&on("cuda")), "{after}");
    assert!(
        instruments.line().ends_with(", cpu since cuda lost its card"),
        "{}",
        instruments.line()
    );
    // After a reboot without the card the alert stays.
    instruments.set_open(&in_use(Provider::Cpu, Some(Lost::AtTheStart)), &"model".into());
    assert!(page(&instruments).unwrap().contains("kith_card_lost 1"));
    assert!(
        instruments.line().ends_with(", cpu without its card"),
        "{}",
        instruments.line()
    );
}

/// Who asks learns of a hang before the daemon ends for it.
#[test]
fn a_silent_worker_is_named_after_half_the_time() {
    let instruments = instruments();
    let _pulse = instruments.heartbeats.pulse("engine");
    let now = Instant::now();
    assert_eq!(instruments.silent(now + Duration::from_secs(20)), []);
    let silent = instruments.silent(now + Duration::from_secs(40));
    assert_eq!(silent.len(), 1);
    assert_eq!(silent[0].worker, "engine");
    let health = |seconds| instruments.health(now + Duration::from_secs(seconds));
    assert_eq!(health(20)["healthy"], true);
    let hangs = health(40);
    assert_eq!(
        (&hangs["healthy"], &hangs["silent"][0]["worker"]),
        (&false.into(), &"engine".into())
    );
}
