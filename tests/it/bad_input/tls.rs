//! Stores behind TLS whose certificate the system does not know (B-47).

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::bench::{Bench, Ran};
use crate::support::bucket;

/// Puts TLS before the embedded server; returns the address and the certificate.
#[expect(clippy::disallowed_methods, reason = "it ends with the runtime of the test")]
async fn behind_tls() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let behind = bucket::embedded().endpoint.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut server = TcpStream::connect(behind).await.unwrap();
                    drop(copy_bidirectional(&mut stream, &mut server).await);
                }
            });
        }
    });
    (endpoint, cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_until_it_is_named() {
    let (endpoint, certificate) = behind_tls().await;
    let server = bucket::embedded();
    let bucket = server.bucket(&bucket::fresh_name(), "");
    let bench = Bench::new();
    bench.write("a/x", "1");
    bench.write("ca.pem", &certificate);
    let location = format!("s3://{}", bucket.at);
    let sync = |options: &[&str]| {
        let words = ["sync", "a", &location, "--endpoint-url", &endpoint, "--state-dir", "state"];
        let mut command = bench.command(&[&words[..], &["--output", "json"], options].concat());
        command.env("AWS_ACCESS_KEY_ID", &server.access_key).env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        tokio::task::block_in_place(|| Ran::of(&command.output().unwrap()))
    };
    let refused = sync(&[]);
    let error = refused.document()["error"].to_string();
    assert_eq!(refused.code, 4, "{error}");
    assert!(error.contains("certificate") && error.contains("--ca-bundle"), "{error}");
    assert!(bucket.names().is_empty(), "nothing was sent");
    let trusted = sync(&["--ca-bundle", "ca.pem"]);
    assert_eq!(trusted.code, 0, "{}", trusted.document());
    assert_eq!(bucket.get("x"), b"1");
}
