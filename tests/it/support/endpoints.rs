//! Stores that the environment names, besides the embedded one: `SYNCENGINE_TEST_ENDPOINTS` is a list
//! `NAME=http://ACCESS:SECRET@HOST:PORT`, separated by commas.

use super::bucket::{self, Server};
use super::variable;

/// Returns the named stores. That there are none is no failure: the embedded one always runs.
pub(crate) fn named_or_skipped(say: impl Fn(&str)) -> Vec<(String, Server)> {
    let named = parse(&variable("SYNCENGINE_TEST_ENDPOINTS").unwrap_or_default());
    if named.is_empty() {
        say("skipped: SYNCENGINE_TEST_ENDPOINTS names no store");
    }
    named
}

/// Returns the named stores, and the embedded one.
pub(crate) fn all() -> Vec<(String, Server)> {
    std::iter::once(("embedded".to_owned(), bucket::embedded())).chain(named_or_skipped(|_| {})).collect()
}

fn parse(list: &str) -> Vec<(String, Server)> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(one).collect()
}

fn one(item: &str) -> (String, Server) {
    let parts = || {
        let (name, url) = item.split_once("=http://")?;
        // A key may have any character but these in it.
        let (keys, address) = url.rsplit_once('@')?;
        let (access_key, secret_key) = keys.split_once(':')?;
        let endpoint = format!("http://{}", address.trim_end_matches('/'));
        let (access_key, secret_key) = (access_key.to_owned(), secret_key.to_owned());
        Some((name.to_owned(), Server { endpoint, access_key, secret_key }))
    };
    parts().unwrap_or_else(|| panic!("no NAME=http://ACCESS:SECRET@HOST:PORT in SYNCENGINE_TEST_ENDPOINTS"))
}

#[test]
fn a_list_of_stores_is_read() {
    assert!(parse("").is_empty() && parse(" , ").is_empty());
    let found = parse("one=http://key:s3/cr+t=@127.0.0.1:9000, two=http://a:b@localhost:1/");
    let shown: Vec<_> = found
        .iter()
        .map(|(name, server)| {
            format!("{name} {} {} {}", server.endpoint, server.access_key, server.secret_key)
        })
        .collect();
    assert_eq!(shown, ["one http://127.0.0.1:9000 key s3/cr+t=", "two http://localhost:1 a b"]);
}
