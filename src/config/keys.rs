//! The table of all keys: what the checker allows and what the reference page says come from here.

use std::fmt::Write as _;

use crate::camera::{Decode, SandboxWish};
use crate::identify::IdentifyBy;
use crate::runtime::{Precision, WhenCardIsLost};

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text that isn't empty.
    Text,
    /// A file or folder; relative to the configuration's folder.
    Path,
    /// A whole number within both limits.
    Whole(i64, i64),
    /// A number within both limits.
    Number(f64, f64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of three or more corners, each two fractions.
    Polygon,
    /// What names faces; see [`IdentifyBy`].
    IdentifyBy,
    /// A table with keys of its own.
    Table(&'static [Key]),
    /// Any number of tables, `[[name]]`.
    Tables(&'static [Key]),
}

impl Kind {
    /// What would be valid, in words.
    pub(super) fn valid(self) -> String {
        match self {
            Self::Text => "text in quotes".to_owned(),
            Self::Path => "a path in quotes".to_owned(),
            Self::Whole(from, to) => format!("a whole number from {from} to {to}"),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Polygon => {
                "a list of three or more corners `[x, y]`, each a fraction of width and height from 0 to 1".to_owned()
            }
            Self::IdentifyBy => IdentifyBy::VALID.to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Tables(_) => "a list of tables, each under its own [[heading]]".to_owned(),
        }
    }
}

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// Its name within its table.
    pub name: &'static str,
    /// What its value has to be.
    pub kind: Kind,
    /// What holds when it isn't given, for the reference page.
    pub default: &'static str,
    /// What it does, for the reference page.
    pub about: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        about,
    }
}

/// The keys outside of any table, and the tables.
pub(super) const TOP: &[Key] = &[
    key(
        "node",
        Kind::Text,
        "from the host name",
        "This box's name in topics: `a-z`, `0-9`, `_`, `-`. Made from the host name at the first start, kept in the \
         state folder, and stable from then on.",
    ),
    key(
        "state",
        Kind::Path,
        "`~/.local/state/kith`",
        "The folder of gallery, outbox and node id. `--state` and `KITH_STATE` win over it; a service gets systemd's.",
    ),
    key(
        "announce_again_s",
        Kind::Whole(0, 86_400),
        "`30`",
        "The same person on the same camera is not announced again within so many seconds.",
    ),
    key("mqtt", Kind::Table(MQTT), "", "The broker."),
    key("runtime", Kind::Table(RUNTIME), "", "What runs the networks."),
    key("identify", Kind::Table(IDENTIFY), "", "Who is it."),
    key("verdict", Kind::Table(VERDICT), "", "When Kith makes up its mind."),
    key(
        "presence",
        Kind::Table(PRESENCE),
        "",
        "The `ON` and `OFF` of each person.",
    ),
    key(
        "watchdog",
        Kind::Table(WATCHDOG),
        "",
        "When the daemon gives itself up.",
    ),
    key("publish", Kind::Table(PUBLISH), "", "What leaves the box."),
    key(
        "http",
        Kind::Table(HTTP),
        "",
        "Figures for Prometheus, and whether the daemon is well; see [HTTP](http.md).",
    ),
    key("log", Kind::Table(LOG), "", "What is written down."),
    key(
        "home_assistant",
        Kind::Table(HOME_ASSISTANT),
        "",
        "Home Assistant finds the node, its cameras and its people by itself.",
    ),
    key(
        "requests",
        Kind::Table(REQUESTS),
        "",
        "Administration over MQTT. Whoever may publish under `request/` can add a face.",
    ),
    key(
        "retain",
        Kind::Table(RETAIN),
        "",
        "What is remembered, and for how long.",
    ),
    key("camera", Kind::Tables(CAMERA), "", "One table for each camera."),
];

const MQTT: &[Key] = &[
    key(
        "url",
        Kind::Text,
        "required",
        "`mqtt://HOST[:PORT]`, or `mqtts://HOST[:PORT]` for TLS, which is always verified. No password in it.",
    ),
    key("username", Kind::Text, "none", "The broker's user."),
    key(
        "password_file",
        Kind::Path,
        "none",
        "A file that holds the password, or the name of a systemd credential.",
    ),
    key(
        "ca_file",
        Kind::Path,
        "the system's",
        "PEM file of the authority that signed the broker's certificate, for `mqtts://`.",
    ),
    key(
        "client_cert_file",
        Kind::Path,
        "none",
        "PEM file of the certificate that the broker asks of us, for `mqtts://` with `ca_file`.",
    ),
    key(
        "client_key_file",
        Kind::Path,
        "none",
        "PEM file of that certificate's key, or the name of a systemd credential.",
    ),
    key(
        "server_name",
        Kind::Text,
        "the host in `url`",
        "The name that the broker's certificate has to be for, where it is another than the host's.",
    ),
    key("base_topic", Kind::Text, "`\"kith\"`", "What every topic begins with."),
    key(
        "client_id",
        Kind::Text,
        "`kith-NODE`",
        "The client id; two clients with one id throw each other out.",
    ),
    key(
        "keep_alive_s",
        Kind::Whole(5, 3_600),
        "`15`",
        "A dead connection is noticed by the broker after one and a half times this.",
    ),
];

const RUNTIME: &[Key] = &[
    key(
        "provider",
        Kind::Choice(&["auto", "tensorrt", "cuda", "cpu"]),
        "`\"auto\"`",
        "`auto` tries TensorRT, CUDA, CPU and announces a fallback; one asked for by name is had or is an error.",
    ),
    key(
        "when_card_is_lost",
        Kind::Choice(WhenCardIsLost::NAMES),
        "`\"cpu\"` for `auto`, else `\"stop\"`",
        "Without the card at the start, or when it fails while it works: `cpu` goes on without it, and announces that; \
         `stop` is an error, and ends a running daemon.",
    ),
    key(
        "precision",
        Kind::Choice(Precision::NAMES),
        "`\"auto\"`",
        "`auto` lets TensorRT compute with 16 bits where the catalogue says that a network is as accurate so (none is \
         measured yet); `full` never does.",
    ),
    key(
        "cache",
        Kind::Path,
        "`~/.cache/kith`",
        "The folder of TensorRT's engines, which `kith warm` builds. `KITH_CACHE` does the same where this key is not \
         given; a service gets systemd's.",
    ),
    key(
        "threads",
        Kind::Whole(1, 256),
        "all cores",
        "Threads that the networks may use on the CPU.",
    ),
    key("library", Kind::Path, "found", "The ONNX Runtime library."),
    key(
        "models",
        Kind::Path,
        "found",
        "The folder of `models.toml` and the networks.",
    ),
    key(
        "models_d",
        Kind::Path,
        "`models.d` in the configuration directory",
        "The folder of your own models: every `*.toml` in it is read as `models.toml` is.",
    ),
];

const IDENTIFY: &[Key] = &[
    key(
        "by",
        Kind::IdentifyBy,
        "`\"gallery\"`",
        "`gallery` compares with the enrolled photos; `head:NAME` asks the trained head of that name (`kith heads`).",
    ),
    key(
        "embedder",
        Kind::Text,
        "`\"mobilefacenet\"`, or the head's",
        "What embeds faces, by its name in the catalogue of models. A head needs the one that it was trained on.",
    ),
];

const VERDICT: &[Key] = &[
    key(
        "min_shots",
        Kind::Whole(1, 8),
        "`3`",
        "Good shots of a face before the vote. Less is quicker and errs more.",
    ),
    key(
        "decide_within_ms",
        Kind::Whole(500, 60_000),
        "`2000`",
        "So long after the first good shot the vote is held with the shots that there are, in time for the message to be \
         out by then; a name then still needs two shots that agree.",
    ),
];

const PRESENCE: &[Key] = &[key(
    "hold_s",
    Kind::Whole(1, 86_400),
    "`60`",
    "A person stays `ON` for so long after being seen last.",
)];

const WATCHDOG: &[Key] = &[key(
    "silent_s",
    Kind::Whole(5, 3_600),
    "`60`",
    "A part of the daemon that gives no sign of life for so long hangs: the daemon ends with exit code 70, so that its \
     supervisor starts it again.",
)];

const PUBLISH: &[Key] = &[key(
    "faces",
    Kind::Switch,
    "`false`",
    "Publish a picture of the best shot of each verdict. Whoever may read the topic sees faces.",
)];

const HTTP: &[Key] = &[key(
    "listen",
    Kind::Text,
    "`\"127.0.0.1:9464\"`",
    "`ADDRESS:PORT` of `/metrics`, `/health` and `/ready`, or `off`. No names of people are there, but whoever reaches \
     it learns when somebody is at a camera. Port 0 takes a free one, which the log names.",
)];

const LOG: &[Key] = &[
    key(
        "format",
        Kind::Choice(&["auto", "human", "json"]),
        "`\"auto\"`",
        "`human` for lines, `json` for an object a line, `auto` for lines with colours on a terminal and without times in \
         the journal. `--log` wins.",
    ),
    key(
        "level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "`\"info\"`",
        "How much. `RUST_LOG` wins.",
    ),
];

const HOME_ASSISTANT: &[Key] = &[
    key(
        "enabled",
        Kind::Switch,
        "`false`",
        "Publish discovery. Turned off again, everything of it is cleared.",
    ),
    key(
        "discovery_prefix",
        Kind::Text,
        "`\"homeassistant\"`",
        "What discovery topics begin with, as in Home Assistant's MQTT settings.",
    ),
    key(
        "birth_topic",
        Kind::Text,
        "`\"homeassistant/status\"`",
        "Where Home Assistant says `online`; all is announced again then.",
    ),
];

const REQUESTS: &[Key] = &[key(
    "enabled",
    Kind::Switch,
    "`false`",
    "Answer `people`, `reload` and `enroll` on `request/VERB`.",
)];

const RETAIN: &[Key] = &[
    key(
        "sightings_days",
        Kind::Whole(0, 3_650),
        "`30`",
        "Visits are remembered for so many days after their end; with `0` none is.",
    ),
    key(
        "unknown_hours",
        Kind::Whole(0, 8_760),
        "`48`",
        "What recognises an unknown visitor is kept for so many hours after the visit, so that a name can be given; with \
         `0` it is not.",
    ),
    key(
        "crops",
        Kind::Switch,
        "`false`",
        "Keep a picture of each unknown visitor's face for those hours, too.",
    ),
];

const CAMERA: &[Key] = &[
    key(
        "id",
        Kind::Text,
        "required",
        "Its name in topics: `a-z`, `0-9`, `_`, `-`; each camera its own.",
    ),
    key(
        "url",
        Kind::Text,
        "required",
        "`rtsp://…`, `rtsps://…`, `http://…` or `https://…` (MJPEG), `snapshot:http://…` or `snapshot:https://…`, \
         `v4l2:/dev/video0`, `file:clip.mp4`, `dir:FOLDER` (pictures), `mqtt://TOPIC` (pictures on a topic of the \
         broker), `frigate:CAMERA`. Nothing else.",
    ),
    key("username", Kind::Text, "none", "The camera's user."),
    key(
        "password_file",
        Kind::Path,
        "none",
        "A file that holds the camera's password, or the name of a systemd credential.",
    ),
    key(
        "min_face_px",
        Kind::Whole(12, 2_000),
        "`40`",
        "The smallest face that is looked for, in pixels. Half of it costs four times as much.",
    ),
    key(
        "frames_per_second",
        Kind::Number(0.1, 60.0),
        "`10`; `2` for snapshots",
        "So many frames a second are looked at, at most.",
    ),
    key(
        "min_shots",
        Kind::Whole(1, 8),
        "`verdict.min_shots`",
        "Good shots of a face before the vote, for this camera.",
    ),
    key(
        "threshold_cosine",
        Kind::Number(0.01, 1.0),
        "the model's",
        "From which cosine similarity to an enrolled photo on a face is that person's, for this camera. Higher names \
         fewer strangers and misses more friends. A person's own threshold wins.",
    ),
    key(
        "threshold_probability",
        Kind::Number(0.01, 1.0),
        "the head's",
        "As `threshold_cosine`, where a trained head names faces: its least probability.",
    ),
    key(
        "loop",
        Kind::Switch,
        "`false`",
        "Begin a file or folder again when it ends.",
    ),
    key(
        "decode",
        Kind::Choice(Decode::NAMES),
        "`\"auto\"`",
        "What decodes a video: `auto` tries the hardware that is there and falls back to the processor; one asked for by \
         name is had or is an error.",
    ),
    key(
        "sandbox",
        Kind::Choice(SandboxWish::NAMES),
        "`\"auto\"`",
        "The limits around the decoder: `auto` warns where the kernel lacks them, `required` does not open the camera \
         then.",
    ),
    key(
        "motion",
        Kind::Switch,
        "`true`",
        "Leave a picture alone in which nothing moves; it is looked at every few seconds all the same.",
    ),
    key(
        "only_zones",
        Kind::Switch,
        "`false`",
        "Faces and movements outside of all zones do not count.",
    ),
    key(
        "zone",
        Kind::Tables(ZONE),
        "none",
        "Named parts of the picture; see below.",
    ),
    key(
        "mask",
        Kind::Tables(MASK),
        "none",
        "Parts of the picture that are not looked at; see below.",
    ),
];

const ZONE: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "required",
        "As events name it: `a-z`, `0-9`, `_`, `-`; each zone of a camera its own.",
    ),
    key("polygon", Kind::Polygon, "required", POLYGON),
];

const MASK: &[Key] = &[key("polygon", Kind::Polygon, "required", POLYGON)];

const POLYGON: &str = "Its corners in order. The upper left corner of the picture is `[0, 0]`, the lower right one `[1, 1]`. \
                       A face is where its middle is.";

/// The reference page of all keys, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         One TOML file, given by `kith run --config FILE`. Every key but those of `[[camera]]` can also come from the \
         environment, which wins: `KITH__MQTT__URL` is `mqtt.url`. A key that is not on this page is an error. \
         `kith check --config FILE` names every mistake at once. Relative paths count from the file's folder.\n\n\
         This page is made from the table that the checker uses (`src/config/keys.rs`).\n",
    );
    section(
        &mut page,
        "At the top of the file",
        TOP.iter()
            .filter(|key| !matches!(key.kind, Kind::Table(_) | Kind::Tables(_))),
    );
    for table in TOP {
        match table.kind {
            Kind::Table(keys) => section(
                &mut page,
                &format!("`[{}]`\n\n{}", table.name, table.about),
                keys.iter(),
            ),
            Kind::Tables(keys) => {
                section(
                    &mut page,
                    &format!("`[[{}]]`\n\n{}", table.name, table.about),
                    keys.iter(),
                );
                for inner in keys {
                    if let Kind::Tables(keys) = inner.kind {
                        let heading = format!("`[[{}.{}]]`\n\n{}", table.name, inner.name, inner.about);
                        section(&mut page, &heading.replace("; see below", ""), keys.iter());
                    }
                }
            }
            _ => {}
        }
    }
    page
}

fn section<'a>(page: &mut String, heading: &str, keys: impl Iterator<Item = &'a Key>) {
    let _ = write!(
        page,
        "\n## {heading}\n\n| key | value | default | |\n| --- | --- | --- | --- |\n"
    );
    for key in keys {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            key.name,
            key.kind.valid(),
            key.default,
            key.about
        );
    }
}
