use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use image::{ImageFormat, RgbImage};

use super::*;

/// Status line, headers, body.
type Answer = (&'static str, String, Vec<u8>);
type Answers = fn() -> Answer;

/// A camera that answers each request with what `answer` makes of it: status line, headers, body. Returns its address
/// and what it was asked.
fn camera(answer: impl Fn(usize, &str) -> Answer + Send + 'static) -> (Url, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://admin:p%40ss@{}/snap.cgi?channel=1",
        listener.local_addr().unwrap()
    );
    let (asked, questions) = channel();
    thread::spawn(move || {
        for (number, connection) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut request = String::new();
            let mut lines = BufReader::new(connection.try_clone().unwrap());
            while !request.ends_with("\r\n\r\n") && lines.read_line(&mut request).unwrap() > 0 {}
            let (status, headers, body) = answer(number, &request);
            if asked.send(request).is_err() {
                return;
            }
            let head = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let mut connection = connection;
            let _ = connection
                .write_all(head.as_bytes())
                .and_then(|()| connection.write_all(&body));
        }
    });
    (Url::parse(&url).unwrap(), questions)
}

fn jpeg() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::new(64, 48).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn good() -> Answer {
    ("200 OK", "Content-Type: image/jpeg\r\n".to_owned(), jpeg())
}

fn source(url: &Url) -> SnapshotSource {
    SnapshotSource::new(url, 50.0, Stop::default())
}

#[test]
fn pictures_come_at_a_rate() {
    let (url, _asked) = camera(|_, _| good());
    let mut source = source(&url);
    let began = Instant::now();
    for _ in 0..6 {
        let picture = source.next_picture().unwrap().unwrap();
        assert_eq!(picture.pixels.dimensions(), (64, 48));
    }
    assert!(began.elapsed() >= Duration::from_millis(100), "five pauses of 20 ms");
}

#[test]
fn a_login_is_given_when_it_is_asked_for() {
    let (url, asked) = camera(|_, request| {
        if request.contains("authorization: Basic YWRtaW46cEBzcw==") {
            return good();
        }
        (
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"cam\"\r\n".to_owned(),
            Vec::new(),
        )
    });
    let mut source = source(&url);
    source.next_picture().unwrap().unwrap();
    source.next_picture().unwrap().unwrap();
    let asked: Vec<String> = asked.try_iter().collect();
    assert_eq!(asked.len(), 3, "the second picture needs no question back");
    assert!(!asked[0].to_lowercase().contains("authorization"));
    assert!(asked[0].starts_with("GET /snap.cgi?channel=1 "));
}

#[test]
fn a_password_is_not_sent_where_a_digest_will_do() {
    let challenge = "WWW-Authenticate: Basic realm=\"cam\"\r\nWWW-Authenticate: Digest realm=\"cam\", qop=\"auth\", \
                     nonce=\"abc\", algorithm=MD5\r\n";
    let (url, asked) = camera(move |number, request| {
        let answered = request.contains("authorization: Digest username=\"admin\"")
            && request.contains("uri=\"/snap.cgi?channel=1\"");
        // The third request finds its challenge run out.
        if answered && number != 2 {
            return good();
        }
        ("401 Unauthorized", challenge.to_owned(), Vec::new())
    });
    let mut source = source(&url);
    source.next_picture().unwrap().unwrap();
    source.next_picture().unwrap().unwrap();
    let asked: Vec<String> = asked.try_iter().collect();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|request| !request.contains("Basic")), "{asked:?}");
}

#[test]
fn answers_that_are_no_pictures_are_named() {
    let moved = || {
        (
            "302 Found",
            "Location: http://169.254.169.254/\r\n".to_owned(),
            Vec::new(),
        )
    };
    let cases: [(&str, Answers); 3] = [
        ("404", || ("404 Not Found", String::new(), Vec::new())),
        ("401", || {
            (
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(),
                Vec::new(),
            )
        }),
        ("elsewhere", moved),
    ];
    for (word, answer) in cases {
        let (url, _asked) = camera(move |_, _| answer());
        let error = source(&url).next_picture().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(!error.contains("p@ss") && !error.contains("p%40ss"), "{error}");
    }
    let (url, _asked) = camera(|_, _| ("200 OK", String::new(), vec![0; 10_000_001]));
    assert!(source(&url).next_picture().is_err());
}

#[test]
fn a_picture_that_is_cut_off_is_left_out() {
    let (url, _asked) = camera(|number, _| match number {
        0 => ("200 OK", String::new(), jpeg()[..300].to_vec()),
        1 => ("200 OK", String::new(), b"<html>busy</html>".to_vec()),
        _ => good(),
    });
    assert!(source(&url).next_picture().unwrap().is_some());
}

#[test]
fn a_camera_that_is_not_there_is_an_error() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{gone}/x")).unwrap();
    assert!(matches!(source(&url).next_picture(), Err(CameraError::Snapshot(_))));
}
