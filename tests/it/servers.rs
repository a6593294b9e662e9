//! What holds on every real server, besides the scenarios and kills that run there too.
//!
//! `SYNCENGINE_TEST_ENDPOINTS` names the servers (docs/SERVERS.md); the embedded one is always among them.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use syncengine::Timestamp;

use crate::contract::{CHECKS, store};
use crate::support::bench::Ran;
use crate::support::endpoints;
use crate::support::world::World;
use crate::support::{Root, read_tree};

const MIB: usize = 1024 * 1024;

impl World {
    fn sync_by_program(&self, options: &[&str]) -> Ran {
        let location = format!("s3://{}", self.bucket.at);
        let server = &self.bucket.server;
        let words = ["sync", "a", &location, "--endpoint-url", &server.endpoint, "--state-dir", "state"];
        let words = [&words[..], &["--output", "json"], options].concat();
        let mut command = self.bench.command(&words);
        server.introduce(&mut command);
        Ran::of(&command.output().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_on_real_servers() {
    let mut wrong = Vec::new();
    for (name, server) in endpoints::all() {
        let mut passed = 0;
        for (check, run) in CHECKS {
            match AssertUnwindSafe(run(store(server.place("a prefix/")))).catch_unwind().await {
                Ok(()) => passed += 1,
                Err(_) => wrong.push(format!("{check} on {name}")),
            }
        }
        println!("ci: on {name}: {passed} of {} checks of the client's contract passed", CHECKS.len());
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What each server is known to do with conditions: on creation, replacement and deletion. `docs/SERVERS.md` says so.
const CONDITIONS: &[(&str, [bool; 3])] = &[
    ("embedded", [true, true, true]),
    ("minio", [true, true, false]),
    ("localstack", [true, true, false]),
    ("seaweedfs", [true, true, true]),
    ("radosgw", [true, true, false]),
];

/// An edit, a deletion and a rename. Where a condition is ignored the run says so, once it needs it; a strict run
/// leaves what needs it alone.
#[test]
fn conditions_in_force_on_real_servers() {
    for (name, server) in endpoints::all() {
        let world = World::on(&server, "of this/");
        for file in ["edited", "deleted", "renamed", "deleted later"] {
            world.folder.write(file, file.as_bytes(), Timestamp::new(1_600_000_000, 0));
        }
        let first = world.sync_by_program(&[]);
        assert_eq!(first.code, 0, "{name}: {first:?}");
        world.folder.write("edited", b"edited again", Timestamp::new(1_600_000_009, 0));
        world.folder.delete("deleted");
        world.folder.rename("renamed", "renamed now");
        let second = world.sync_by_program(&[]);
        let report = second.document();
        assert_eq!(second.code, 0, "{name}: {report:#}");
        assert_eq!(world.folder.files(), world.bucket.files(), "{name}");
        let asked = ["put_if_none_match", "put_if_match", "delete_if_match"];
        let found = asked.map(|condition| report["conditions"][condition].as_bool().unwrap());
        let warned = report["warnings"].to_string().contains("weak-conditions");
        assert_eq!(warned, found.contains(&false), "{name}: {report:#}");
        if let Some((_, known)) = CONDITIONS.iter().find(|(known, _)| *known == name) {
            assert_eq!(found, *known, "{name} does not do what is known of it");
        }
        world.folder.write("edited", b"edited once more", Timestamp::new(1_600_000_019, 0));
        world.folder.write("new", b"new", Timestamp::new(1_600_000_019, 0));
        world.folder.delete("deleted later");
        let strict = world.sync_by_program(&["--strict"]);
        let document = strict.document();
        let refused =
            ["new", "edited", "deleted later"].into_iter().zip(found).filter(|(_, honoured)| !honoured);
        let mut refused: Vec<&str> = refused.map(|(path, _)| path).collect();
        refused.sort_unstable();
        let failed = document["failures"].as_array().unwrap().iter();
        let failed: Vec<&str> = failed.map(|failure| failure["path"].as_str().unwrap()).collect();
        assert_eq!(
            (failed, strict.code),
            (refused.clone(), i32::from(!refused.is_empty())),
            "{name}: {document:#}"
        );
        assert!(!document["warnings"].to_string().contains("weak-conditions"), "{name}: {document:#}");
        let there = world.bucket.files().contains_key("deleted later");
        assert_eq!(there, refused.contains(&"deleted later"), "{name}");
        let trashed = world.bucket.names().iter().any(|name| name.ends_with("/deleted later"));
        assert_ne!(trashed, there, "{name}: nothing is done for what is refused");
        let [create, replace, delete] =
            found.map(|honoured| if honoured { "honoured" } else { "looked first" });
        println!(
            "ci: on {name}: conditions on creation {create}, on replacement {replace}, on deletion {delete}"
        );
    }
}

/// Names that stores are known to trip over. What a server refuses fails by itself and is named; the rest comes
/// back as it was.
#[test]
fn odd_names_and_large_files_come_back_from_real_servers() {
    let odd = [
        " a",
        "a ",
        "a b",
        "a+b",
        "100%",
        "a%20b",
        "a#b",
        "a?b=c",
        "<a>&\"'b",
        "a:b",
        "a*b|c",
        "~!@$^()=,;[]{}`",
        "é",
        "e\u{301}",
        "😀",
        "日本",
        ".hidden",
        "a~",
        "\u{202e}a",
        "CON",
        "a\\b",
        "a\tb",
        "a\u{1}b",
        "a\u{7f}b",
        "d/Ä/.x",
        "d/Ä+/y",
        "d-",
        "d.e",
    ];
    for (name, server) in endpoints::all() {
        let world = World::on(&server, "of this/");
        let time = Timestamp::new(1_600_000_000, 123_456_789);
        for (at, file) in odd.iter().enumerate() {
            world.folder.write(file, format!("{at}").as_bytes(), time);
        }
        let mut large: Vec<u8> = (0..20 * MIB).map(|at| u8::try_from(at % 251).unwrap()).collect();
        large[11 * MIB] = 255;
        world.folder.write("large", &large, time);
        let up = world.sync_by_program(&["--part-size", "5M"]);
        let report = up.document();
        let refused: Vec<_> =
            report["failures"].as_array().unwrap().iter().map(|f| f["path"].clone()).collect();
        assert_eq!(up.code, i32::from(!refused.is_empty()), "{name}: {report:#}");
        let expected = if name == "seaweedfs" { vec![serde_json::json!("a\\b")] } else { Vec::new() };
        assert_eq!(refused, expected, "{name}");
        // Again into an empty folder.
        let here = world.folder.files();
        std::fs::rename(&world.folder.0, world.bench.path("first")).unwrap();
        std::fs::remove_dir_all(world.bench.path("state")).unwrap();
        let down = world.sync_by_program(&["--mode", "dts", "--create"]);
        assert_eq!(down.code, 0, "{name}: {}", down.document());
        let mut there = world.folder.files();
        for file in &refused {
            let file = file.as_str().unwrap();
            there.insert(file.to_owned(), here[file].clone());
        }
        assert!(here == there, "{name}: {:?} {:?}", here.keys(), there.keys());
        let stat = std::fs::metadata(world.folder.0.join("large")).unwrap();
        let modified = stat.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!((modified.as_secs(), modified.subsec_nanos()), (1_600_000_000, 123_456_789), "{name}");
        println!(
            "ci: on {name}: {} odd names and a file in parts came back, {} refused",
            odd.len(),
            refused.len()
        );
    }
}

/// While an object `d` exists, some servers list nothing below `d/`. That is no deletion.
#[test]
fn a_file_beside_its_folder_loses_nothing_on_real_servers() {
    for (name, server) in endpoints::all() {
        let world = World::on(&server, "of this/");
        for file in ["d/one", "d/deep/two", "e"] {
            world.folder.write(file, file.as_bytes(), Timestamp::new(1_600_000_000, 0));
        }
        assert_eq!(world.sync_by_program(&[]).code, 0, "{name}");
        world.bucket.put("d", b"in the way", None);
        world.folder.write("e", b"edited", Timestamp::new(1_600_000_005, 0));
        let ran = world.sync_by_program(&[]);
        let report = ran.document();
        assert_eq!(ran.code, 1, "{name}: {report:#}");
        assert!(report["failures"].to_string().contains("of the same name"), "{name}: {report:#}");
        let here = read_tree(&world.folder.0);
        let kept = here.keys().filter(|name| !name.starts_with(".syncengine")).collect::<Vec<_>>();
        assert_eq!(kept, ["d/deep/two", "d/one", "e"], "{name}");
        assert_eq!(world.bucket.get("e"), b"edited", "{name}");
        world.bucket.remove("d");
        let healed = world.sync_by_program(&[]);
        assert_eq!(
            (healed.code, &healed.document()["counts"]["failed"]),
            (0, &serde_json::json!(0)),
            "{name}"
        );
        assert_eq!(world.folder.files(), world.bucket.files(), "{name}");
    }
}
