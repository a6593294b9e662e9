//! `Peer`: answers HTTP on loopback as a test says, byte for byte, and remembers what it was asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How far apart the bytes of an answer that drips are.
const DROP: Duration = Duration::from_millis(2);

/// How long a client that takes nothing is waited for before looking whether the test is over.
const LOOK: Duration = Duration::from_millis(20);

/// One request.
#[derive(Debug, Clone)]
pub(in crate::client::s3) struct Asked {
    pub(in crate::client::s3) method: String,
    pub(in crate::client::s3) path: String,
    query: BTreeMap<String, String>,
    pub(in crate::client::s3) head: BTreeMap<String, String>,
}

impl Asked {
    /// Returns the operation as S3 names it.
    pub(in crate::client::s3) fn operation(&self) -> &'static str {
        let has = |name: &str| self.query.contains_key(name);
        match self.method.as_str() {
            "GET" if self.path == "/" => "ListBuckets",
            "GET" if has("list-type") => "ListObjectsV2",
            "GET" if has("versioning") => "GetBucketVersioning",
            "GET" if has("uploads") => "ListMultipartUploads",
            "GET" if has("uploadId") => "ListParts",
            "GET" => "GetObject",
            "HEAD" => "HeadObject",
            "PUT" if has("partNumber") => "UploadPart",
            "PUT" if self.head.contains_key("x-amz-copy-source") => "CopyObject",
            "PUT" => "PutObject",
            "DELETE" if has("uploadId") => "AbortMultipartUpload",
            "DELETE" => "DeleteObject",
            "POST" if has("delete") => "DeleteObjects",
            "POST" if has("uploads") => "CreateMultipartUpload",
            "POST" => "CompleteMultipartUpload",
            method => panic!("{method} {}", self.path),
        }
    }
}

/// The parameters.
impl Deref for Asked {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.query
    }
}

/// The bytes of one answer.
pub(in crate::client::s3) type Answer = Vec<u8>;

/// What comes behind the bytes of an answer.
#[derive(Debug, Clone)]
pub(in crate::client::s3) enum Behind {
    /// The end of the connection.
    End,
    /// Nothing, for as long as the test lasts.
    Silence,
    /// These, one by one, slowly and again and again.
    Drops(&'static [u8]),
    /// These again and again.
    Flood(Vec<u8>),
}

/// What is sent.
#[derive(Debug, Clone)]
pub(in crate::client::s3) struct Reply {
    pub(in crate::client::s3) bytes: Answer,
    pub(in crate::client::s3) behind: Behind,
}

impl From<Answer> for Reply {
    fn from(bytes: Answer) -> Self {
        Self { bytes, behind: Behind::End }
    }
}

impl Reply {
    fn send(self, mut stream: TcpStream, ended: &AtomicBool) {
        // The client may have gone; then it does not want the answer.
        stream.set_write_timeout(Some(LOOK)).unwrap();
        let mut open = push(&mut stream, &self.bytes, ended);
        let goes_on = |open: bool| open && !ended.load(Ordering::SeqCst);
        match self.behind {
            Behind::End => {}
            Behind::Silence => {
                while goes_on(true) {
                    std::thread::sleep(DROP);
                }
            }
            Behind::Drops(drops) => {
                for byte in drops.iter().cycle() {
                    if !goes_on(open) {
                        return;
                    }
                    std::thread::sleep(DROP);
                    open = push(&mut stream, &[*byte], ended);
                }
            }
            Behind::Flood(bytes) => {
                while goes_on(open) {
                    open = push(&mut stream, &bytes, ended);
                }
            }
        }
    }
}

/// Sends bytes to a client that takes them; returns whether it took them all.
fn push(stream: &mut TcpStream, mut bytes: &[u8], ended: &AtomicBool) -> bool {
    while !bytes.is_empty() && !ended.load(Ordering::SeqCst) {
        match stream.write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
    }
    bytes.is_empty()
}

#[derive(Debug)]
pub(in crate::client::s3) struct Peer {
    pub(in crate::client::s3) endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Answers each request by `script`.
    pub(in crate::client::s3) fn start<R: Into<Reply>>(
        script: impl FnMut(&Asked) -> R + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ended) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (log, stop) = (Arc::clone(&asked), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let script = Arc::new(Mutex::new(script));
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // A connection that nobody uses must not keep others waiting, nor the end of the test.
                let stream = stream.unwrap();
                let (script, log, stop) = (Arc::clone(&script), Arc::clone(&log), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    let reply = script.lock().unwrap()(&request).into();
                    reply.send(stream, &stop);
                });
            }
            assert!(!script.is_poisoned(), "the script failed");
        });
        Self { endpoint: format!("http://{address}"), asked, ended, thread: Some(thread) }
    }

    /// Returns the value of a parameter in each request so far; `-` where it was not sent.
    pub(in crate::client::s3) fn asked(&self, parameter: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|one| one.get(parameter).map_or_else(|| "-".into(), Clone::clone)).collect()
    }

    /// Returns the operations that were asked for, in their order.
    pub(in crate::client::s3) fn operations(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().iter().map(Asked::operation).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.endpoint.trim_start_matches("http://")));
        let ended = self.thread.take().map(JoinHandle::join);
        // A test that fails has more to say than a peer that fails after it.
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the peer failed");
    }
}

/// Takes a request in, with its body, so that the connection can end well.
fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let (first, rest) = lines.split_first()?;
    let head: BTreeMap<String, String> = rest
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = head.get("content-length").map_or(0, |length| length.parse().unwrap());
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    let (method, target) = first.split_once(' ')?;
    let target = target.split(' ').next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    Some(Asked { method: method.to_owned(), path: decoded(path), query, head })
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

pub(in crate::client::s3) fn encoded(text: &str) -> String {
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
pub(in crate::client::s3) fn answer(status: u16, head: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut all =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n", body.len())
            .into_bytes();
    all.extend(body);
    all
}

/// What S3 says of an error.
pub(in crate::client::s3) fn refusal(status: u16, code: &str) -> Answer {
    answer(status, "", format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

pub(in crate::client::s3) fn object(name: &str) -> String {
    format!(
        "<Contents><Key>{}</Key><LastModified>2026-01-02T03:04:05.006Z</LastModified>\
         <ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag><Size>1</Size>\
         <StorageClass>STANDARD</StorageClass></Contents>",
        encoded(name)
    )
}

/// A page with these names; it goes on at `token` unless that is empty.
pub(in crate::client::s3) fn page(names: &[&str], token: &str) -> String {
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
pub(in crate::client::s3) fn store(names: Vec<String>, most: usize) -> impl FnMut(&Asked) -> Answer + Send {
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
