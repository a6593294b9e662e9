//! What is spent on a store that does not take a file.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// Whatever is refused, the bytes of a file go out five times at most.
#[tokio::test]
async fn a_file_is_sent_five_times_at_most() {
    for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (400, "BadDigest")] {
        for (operation, most) in [("PutObject", 5), ("UploadPart", 3 * 5)] {
            let peer = Peer::start(but_for(operation, refusal(status, code)));
            let error = ask(&client(&peer, limits()), operation).await.unwrap_err();
            let sent = peer.operations().iter().filter(|asked| **asked == operation).count();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{code}: {}", error.chain());
            assert!((2..=most).contains(&sent), "{operation} {code}: {sent}");
        }
    }
}

/// A store that takes the beginning of a body and then nothing, without an end.
#[tokio::test]
async fn a_body_that_nobody_takes_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut begin = [0; 8];
            stream.read_exact(&mut begin).unwrap();
            if begin.starts_with(b"PUT") {
                held.push(stream);
            } else {
                let nothing = b"HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(nothing).unwrap();
            }
        }
    });
    let short = Limits { beginning: Duration::from_millis(300), ..limits() };
    let one = client_at(&endpoint, short, Duration::from_secs(1), u64::MAX);
    let size = 48 * 1024 * 1024;
    let content = Body { size, chunks: large(size), ..body("") };
    let error = one.stage(target("new", None), content).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(error.chain().contains("and no more"), "{}", error.chain());
    assert!(error.hint().unwrap().contains("--retry-budget"), "{:?}", error.hint());
}

fn large(size: u64) -> BoxStream<'static, Result<Bytes>> {
    let mib = Bytes::from(vec![7; 1024 * 1024]);
    stream::iter((0..size >> 20).map(move |_| Ok(mib.clone()))).boxed()
}
