//! `Peer`: answers HTTP on loopback as a test says, byte for byte, and remembers what it was asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The parameters of one request for a listing.
pub(super) type Asked = BTreeMap<String, String>;

/// The bytes of one answer; the connection is closed behind them.
pub(super) type Answer = Vec<u8>;

pub(super) struct Peer {
    pub(super) endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Answers each request by `script`.
    pub(super) fn start(mut script: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ended) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (log, stop) = (Arc::clone(&asked), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                log.lock().unwrap().push(request.clone());
                // The client may have gone; then it does not want the answer.
                drop((&stream).write_all(&script(&request)));
            }
        });
        Self { endpoint: format!("http://{address}"), asked, ended, thread: Some(thread) }
    }

    /// Returns the value of a parameter in each request so far; `-` where it was not sent.
    pub(super) fn asked(&self, parameter: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|one| one.get(parameter).map_or_else(|| "-".into(), Clone::clone)).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.endpoint.trim_start_matches("http://")));
        self.thread.take().map(JoinHandle::join).unwrap().unwrap();
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let target = first.split(' ').nth(1)?;
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    Some(pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect())
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
        out
    })
}

/// An answer with its length.
pub(super) fn answer(status: u16, head: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut all =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n", body.len())
            .into_bytes();
    all.extend(body);
    all
}

/// What S3 says of an error.
pub(super) fn refusal(status: u16, code: &str) -> Answer {
    answer(status, "", format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

pub(super) fn object(name: &str) -> String {
    format!(
        "<Contents><Key>{}</Key><LastModified>2026-01-02T03:04:05.006Z</LastModified>\
         <ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag><Size>1</Size>\
         <StorageClass>STANDARD</StorageClass></Contents>",
        encoded(name)
    )
}

/// A page with these names; it goes on at `token` unless that is empty.
pub(super) fn page(names: &[&str], token: &str) -> String {
    let contents: String = names.iter().map(|name| object(name)).collect();
    let next = if token.is_empty() {
        String::new()
    } else {
        format!("<NextContinuationToken>{token}</NextContinuationToken>")
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><Name>vault</Name><Prefix>p/</Prefix>\
         <EncodingType>url</EncodingType><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>{next}{contents}\
         </ListBucketResult>",
        names.len(),
        !token.is_empty()
    )
}

/// Lists `names` as a store does that keeps them in this order, in pages of at most `most`.
pub(super) fn store(names: Vec<String>, most: usize) -> impl FnMut(&Asked) -> Answer + Send {
    move |asked| {
        let prefix = asked.get("prefix").map_or("", String::as_str);
        let after = asked.get("start-after").map_or("", String::as_str);
        let wanted = asked["max-keys"].parse::<usize>().unwrap().min(most);
        let begin = asked.get("continuation-token").map_or(0, |token| token[1..].parse().unwrap());
        let listed: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| name.starts_with(prefix) && *name > after)
            .skip(begin)
            .collect();
        let shown = &listed[..wanted.min(listed.len())];
        // A token stands for a place in what its own request listed, so it says behind which name that began.
        assert!(begin == 0 || after.is_empty());
        let behind = names.iter().filter(|name| name.starts_with(prefix) && name.as_str() <= after).count();
        let token = if shown.len() < listed.len() {
            format!("t{}", behind + begin + shown.len())
        } else {
            String::new()
        };
        let body = page(shown, &token).replace("<Prefix>p/<", &format!("<Prefix>{}<", encoded(prefix)));
        answer(200, "", body)
    }
}
