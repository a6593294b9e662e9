//! The five modes, explained.

use serde::Serialize;
use syncengine::SyncMode;

const DECISION_TREE: &str = "\
Do you need bidirectional sync?
├─ Yes → TWO_WAY
└─ No → Do you need to upload or download?
   ├─ Upload → Do you want to delete from destination?
   │  ├─ Yes → SOURCE_TO_DESTINATION
   │  └─ No → SOURCE_BACKUP
   └─ Download → Do you want to delete from source?
      ├─ Yes → DESTINATION_TO_SOURCE
      └─ No → DESTINATION_BACKUP
";

const NOTE: &str = "\
A backup mode never deletes on either side. SOURCE_BACKUP downloads what was added or changed at the
destination, unless --no-pull is given.
";

/// The document of `modes`.
#[derive(Debug, Serialize)]
pub(crate) struct Modes {
    schema: u32,
    modes: Vec<Mode>,
    decision_tree: &'static str,
}

#[derive(Debug, Serialize)]
struct Mode {
    name: &'static str,
    title: &'static str,
    aliases: &'static [&'static str],
    use_case: &'static str,
    upload: &'static str,
    download: &'static str,
    delete_behavior: &'static str,
    properties: Properties,
}

#[derive(Debug, Serialize)]
struct Properties {
    allows_upload: bool,
    allows_download: bool,
    allows_source_delete: bool,
    allows_destination_delete: bool,
    is_bidirectional: bool,
    requires_source_scan: bool,
    requires_destination_scan: bool,
}

/// Returns the document.
pub(crate) fn document() -> Modes {
    let modes = SyncMode::ALL.iter().copied().map(describe).collect();
    Modes { schema: syncengine::report::SCHEMA, modes, decision_tree: DECISION_TREE }
}

fn describe(mode: SyncMode) -> Mode {
    let (title, use_case, upload, download, delete_behavior) = match mode {
        SyncMode::TwoWay => ("TWO_WAY", "Keep both sides in sync", "Yes", "Yes", "Both directions"),
        SyncMode::SourceToDestination => {
            ("SOURCE_TO_DESTINATION", "Mirror source to dest", "Yes", "No", "Dest only")
        }
        SyncMode::SourceBackup => {
            ("SOURCE_BACKUP", "Backup without deletes", "Yes", "No with --no-pull", "Never delete source")
        }
        SyncMode::DestinationToSource => {
            ("DESTINATION_TO_SOURCE", "Mirror dest to source", "No", "Yes", "Source only")
        }
        SyncMode::DestinationBackup => {
            ("DESTINATION_BACKUP", "Download without deletes", "No", "Yes", "Never delete dest")
        }
    };
    let properties = Properties {
        allows_upload: mode.allows_upload(),
        allows_download: mode.allows_download(),
        allows_source_delete: mode.allows_source_delete(),
        allows_destination_delete: mode.allows_destination_delete(),
        is_bidirectional: mode.is_bidirectional(),
        requires_source_scan: mode.requires_source_scan(),
        requires_destination_scan: mode.requires_destination_scan(),
    };
    let aliases = mode.names();
    Mode { name: mode.name(), title, aliases, use_case, upload, download, delete_behavior, properties }
}

/// Returns the table, the decision tree and the properties.
pub(crate) fn text(modes: &Modes) -> String {
    let mut text = format!(
        "{:<22} {:<25} {:<7} {:<18} {}\n",
        "Mode", "Use Case", "Upload", "Download", "Delete Behavior"
    );
    for mode in &modes.modes {
        text += &format!(
            "{:<22} {:<25} {:<7} {:<18} {}\n",
            mode.title, mode.use_case, mode.upload, mode.download, mode.delete_behavior
        );
    }
    text += &format!("\n{NOTE}\n{DECISION_TREE}\n");
    text += &format!(
        "{:<20} {:>6} {:>9} {:>14} {:>19} {:>14}  {}\n",
        "--mode", "upload", "download", "source delete", "destination delete", "bidirectional", "aliases"
    );
    let yes = |value: bool| if value { "yes" } else { "no" };
    for Mode { name, aliases, properties: p, .. } in &modes.modes {
        let others = aliases.get(1..).unwrap_or_default().join(", ");
        text += &format!(
            "{name:<20} {:>6} {:>9} {:>14} {:>19} {:>14}  {others}\n",
            yes(p.allows_upload),
            yes(p.allows_download),
            yes(p.allows_source_delete),
            yes(p.allows_destination_delete),
            yes(p.is_bidirectional),
        );
    }
    text + "\nEvery mode lists both sides. Names are understood in any case, with or without - and _.\n"
}
