//! What the supervisor (systemd, with `Type=notify`) is told. Without one, nothing is said. A word that can't be said
//! is no reason to stop recognising people.

use std::time::Duration;

use sd_notify::NotifyState;

/// How long the start may take from now on; said again and again while networks are opened, since a card may build
/// them for minutes.
const STARTING: Duration = Duration::from_secs(60);

fn say(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::debug!(%error, "the supervisor can't be told");
    }
}

/// The start goes on.
pub(super) fn starting(status: &str) {
    let longer_us = u32::try_from(STARTING.as_micros()).unwrap_or(u32::MAX);
    say(&[NotifyState::ExtendTimeoutUsec(longer_us), NotifyState::Status(status)]);
}

/// The daemon works, or works again after [`reloading`].
pub(super) fn ready() {
    say(&[NotifyState::Ready]);
}

/// The configuration is read anew; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd tells by the time whether this answers its latest wish.
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock, so no word about the reload"),
    }
}

/// What goes on, in a line for people.
pub(super) fn status(status: &str) {
    say(&[NotifyState::Status(status)]);
}

/// Every worker is alive.
pub(super) fn alive() {
    say(&[NotifyState::Watchdog]);
}

/// The daemon is about to end.
pub(super) fn stopping(why: &str) {
    say(&[NotifyState::Stopping, NotifyState::Status(why)]);
}

/// How often [`alive`] is expected, at least; `None` when nobody listens.
pub(super) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}
