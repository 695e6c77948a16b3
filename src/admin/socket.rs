//! The daemon's side of the Unix socket: one JSON line for each request, one for each answer.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Handler, Verb, peers};

/// The socket's name in its folder.
pub const FILE_NAME: &str = "kith.sock";
/// A request is no longer than this: the faces of some hundred photos with their crops.
pub(super) const MAX_REQUEST_BYTES: u64 = 32 * 1024 * 1024;
/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many may ask at a time; the next one waits.
const AT_A_TIME: usize = 8;

/// The socket's file, removed when dropped.
pub struct Socket {
    /// The files to remove: the socket, and the link to it in the state folder.
    files: Vec<PathBuf>,
    task: tokio::task::JoinHandle<()>,
}

impl Socket {
    /// Listens in `runtime_dir` if there is one, else in the state folder, whose lock the caller holds: what an earlier
    /// daemon left there is replaced. In the state folder there is at least a link to it.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn listen(runtime: &Handle, state: &Path, runtime_dir: Option<&Path>, handler: Handler) -> io::Result<Self> {
        let in_state = state.join(FILE_NAME);
        let path = runtime_dir.map_or_else(|| in_state.clone(), |folder| folder.join(FILE_NAME));
        remove_old(&in_state)?;
        remove_old(&path)?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&path)?
        };
        // Closed to others before the group gets it.
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600))?;
        if let Some(group) = peers::group() {
            let group = rustix::process::Gid::from_raw(group.as_raw());
            // A service runs in that group already, and may not make this call.
            let given = if rustix::fs::stat(&path)?.st_gid == group.as_raw() {
                Ok(())
            } else {
                rustix::fs::chown(&path, None, Some(group))
            };
            match given {
                Ok(()) => rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o660))?,
                Err(error) => tracing::warn!(
                    %error,
                    "can't give the socket to the group {}, so only this user and root can use it",
                    peers::GROUP
                ),
            }
        }
        let mut files = vec![path.clone()];
        if path != in_state {
            std::os::unix::fs::symlink(&path, &in_state)?;
            files.push(in_state);
        }
        tracing::debug!(path = %path.display(), "listens for requests");
        Ok(Self {
            files,
            task: runtime.spawn(accept(listener, handler)),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Removes a socket or a link; anything else was put there by somebody, and stays.
fn remove_old(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() || file.file_type().is_symlink() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is no socket; move it away", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

async fn accept(listener: UnixListener, handler: Handler) {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let handler = handler.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &handler).await {
                        tracing::debug!(%error, "a request over the socket came to nothing");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a request over the socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Answers what is asked, line by line, until the other side closes or is silent for too long.
async fn serve(mut stream: UnixStream, handler: &Handler) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let uid = peer.uid();
    // The user database may be far away, and a request long: neither shall hold up what else runs on this thread.
    if !aside(move || peers::may(&peer)).await? {
        tracing::warn!(uid, "somebody who may not has asked over the socket");
        let refusal = format!(
            "only the daemon's user, root and the group {} may ask this",
            peers::GROUP
        );
        return write(&mut stream, &Err(refusal)).await;
    }
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reading).take(MAX_REQUEST_BYTES + 1);
        timeout(PATIENCE, limited.read_until(b'\n', &mut line))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no whole request came"))??;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 > MAX_REQUEST_BYTES {
            let refusal = format!("the request is longer than {} MB", MAX_REQUEST_BYTES / 1024 / 1024);
            return write(&mut writing, &Err(refusal)).await;
        }
        let answer = match aside(move || serde_json::from_slice::<Verb>(&line)).await? {
            Ok(verb) => handler.ask(verb).await,
            Err(error) => Err(format!("that is no request: {error}")),
        };
        write(&mut writing, &answer).await?;
    }
}

/// Does what takes time on a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let json: Value = match answer {
        Ok(answer) => json!({"ok": answer}),
        Err(error) => json!({"error": error}),
    };
    timeout(PATIENCE, stream.write_all(format!("{json}\n").as_bytes()))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken"))?
}
