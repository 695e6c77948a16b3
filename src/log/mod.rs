//! The log: lines for people or JSON, on standard error. `RUST_LOG` says how much of it, else `log.level`, which can be
//! changed while the daemon runs.
//!
//! Fields have the same names everywhere: `camera`, `track`, `person` (the id, never the name), `error`.

mod json;

use std::fmt;
use std::io::{IsTerminal, stderr};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// `log.format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people, as they suit whoever reads: colours on a terminal, no times in the journal.
    #[default]
    Auto,
    /// Lines for people, without colours.
    Human,
    /// One JSON object a line.
    Json,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// What is decided, and why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Libraries say more than anybody wants to know, so they stay at `warn` but for `trace`.
    fn filter(self) -> EnvFilter {
        EnvFilter::new(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,kith=info",
            Self::Debug => "warn,kith=debug",
            Self::Trace => "info,kith=trace",
        })
    }
}

/// The running log.
pub struct Log {
    /// `None` where `RUST_LOG` has the say.
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

impl Log {
    /// Starts it. Once in a process.
    pub fn start(format: LogFormat, level: LogLevel) -> Self {
        let asked = std::env::var(EnvFilter::DEFAULT_ENV)
            .ok()
            .filter(|asked| !asked.is_empty());
        let asked = asked.and_then(|asked| EnvFilter::try_new(asked).ok());
        let wins = asked.is_some();
        let (filter, handle) = reload::Layer::new(asked.unwrap_or_else(|| level.filter()));
        let registry = tracing_subscriber::registry().with(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
        match format {
            LogFormat::Json => {
                let json = lines.fmt_fields(JsonFields::new()).with_ansi(false);
                registry.with(json.event_format(json::Flat)).init();
            }
            LogFormat::Auto if journal_reads() => registry
                .with(lines.with_ansi(false).event_format(ForJournal(
                    Format::default().without_time().with_target(false).with_level(false),
                )))
                .init(),
            LogFormat::Auto | LogFormat::Human => {
                let colours = format == LogFormat::Auto && stderr().is_terminal();
                registry.with(lines.with_target(false).with_ansi(colours)).init();
            }
        }
        Self {
            filter: (!wins).then_some(handle),
        }
    }

    /// Says more or less from now on; returns whether it could, since `RUST_LOG` wins.
    pub fn set_level(&self, level: LogLevel) -> bool {
        self.filter
            .as_ref()
            .is_some_and(|filter| filter.reload(level.filter()).is_ok())
    }
}

/// Whether standard error is the journal. The variable alone doesn't say so: whoever is started from a service
/// inherits it, with whatever standard error is then.
fn journal_reads() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A line with its level as the journal understands it; the journal has the time itself.
struct ForJournal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // The priorities of sd-daemon(3).
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
