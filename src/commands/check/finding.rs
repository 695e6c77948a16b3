//! What a check found: one line of the report, and its mend.

use std::fmt;

use serde::Serialize;

/// What is looked at. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The configuration file, all mistakes in it
    Config,
    /// The catalogue, and each model's sha256
    Models,
    /// The ONNX Runtime library
    Runtime,
    /// What really runs each network
    Provider,
    /// Who is enrolled, and whether they can be recognised
    Gallery,
    /// Space, and the databases' soundness
    Disk,
    /// Who may read state and secrets, and who runs what
    Permissions,
    /// This machine's clock
    Clock,
    /// FFmpeg, and whether it can do what the cameras need
    Decoder,
    /// Each camera, opened for a moment
    Camera,
    /// The broker: name, connection, certificates, login, rights
    Broker,
    /// Whether a daemon runs, and how it is
    Daemon,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Config,
        Self::Models,
        Self::Runtime,
        Self::Provider,
        Self::Gallery,
        Self::Disk,
        Self::Permissions,
        Self::Clock,
        Self::Decoder,
        Self::Camera,
        Self::Broker,
        Self::Daemon,
    ];

    /// As the report and `--only` write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Models => "models",
            Self::Runtime => "runtime",
            Self::Provider => "provider",
            Self::Gallery => "gallery",
            Self::Disk => "disk",
            Self::Permissions => "permissions",
            Self::Clock => "clock",
            Self::Decoder => "decoder",
            Self::Camera => "camera",
            Self::Broker => "broker",
            Self::Daemon => "daemon",
        }
    }
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and could be better, or will not work for long.
    Warning,
    /// It does not work.
    Failed,
    /// Could not be looked at, or there is nothing to look at.
    NotChecked,
}

impl State {
    /// As the report writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotChecked => "not checked",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: Subject,
    /// Which of several, such as a camera's id; empty where there is one only.
    pub about: String,
    /// How it is.
    pub state: State,
    /// What was seen. Never holds a secret, nor a person's name or id.
    pub seen: String,
    /// The ids of the people whom it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<String>,
    /// What to do: a command or a key. There for all that is `Warning` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn new(subject: Subject, about: impl Into<String>, state: State, seen: impl Into<String>) -> Self {
        Self {
            subject,
            about: about.into(),
            state,
            seen: seen.into(),
            who: Vec::new(),
            mend: None,
        }
    }

    /// As it should be.
    pub fn ok(subject: Subject, about: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(subject, about, State::Ok, seen)
    }

    /// It could be better; `mend` says how.
    pub fn warning(
        subject: Subject,
        about: impl Into<String>,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            mend: Some(mend.into()),
            ..Self::new(subject, about, State::Warning, seen)
        }
    }

    /// It does not work; `mend` says what to do.
    pub fn failed(
        subject: Subject,
        about: impl Into<String>,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            mend: Some(mend.into()),
            ..Self::new(subject, about, State::Failed, seen)
        }
    }

    /// It was not looked at; `why` says why.
    pub fn not_checked(subject: Subject, about: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(subject, about, State::NotChecked, why)
    }

    /// The same, about the people with these ids.
    #[must_use]
    pub fn about_people(self, who: Vec<String>) -> Self {
        Self { who, ..self }
    }

    /// Subject, and which one.
    pub fn place(&self) -> String {
        if self.about.is_empty() {
            self.subject.name().to_owned()
        } else {
            format!("{} {}", self.subject.name(), self.about)
        }
    }
}

impl fmt::Display for Finding {
    /// As the report of somebody without a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.state.word(), self.place(), self.seen)
    }
}
