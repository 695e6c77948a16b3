//! Signals: stop, stop at once, read the configuration again.

use std::sync::mpsc::SyncSender;

use tokio::signal::unix::{SignalKind, signal};

use super::{News, tell};

/// Tells of the first signal to stop; leaves at once at the second.
pub(super) async fn listen(news: SyncSender<News>) {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        tracing::error!("can't listen for signals; only kill -9 will end this");
        return;
    };
    let mut asked = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {
                tell(&news, News::HangUp);
                continue;
            }
        }
        if asked {
            std::process::exit(130);
        }
        asked = true;
        tell(&news, News::Signal);
    }
}
