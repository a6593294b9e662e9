//! Syncs two folders once: `cargo run --example sync_once -- SOURCE DESTINATION`.

use std::process::ExitCode;

use syncengine::{SyncEngine, SyncMode, SyncOptions, SyncPair};

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(destination)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: sync_once SOURCE DESTINATION");
        return ExitCode::from(2);
    };
    let pair = SyncPair::new(source, destination).mode(SyncMode::SourceToDestination).exclude("*.tmp");
    // A real program keeps its bases in one place; without them every run is a first sync.
    let engine = SyncEngine::new(std::env::temp_dir().join("syncengine-example"));
    match engine.sync_pair(&pair, SyncOptions::new().create(true)).await {
        Ok(report) => {
            let counts = report.counts;
            println!("{} uploaded, {} unchanged", counts.uploaded, counts.unchanged);
            for notice in &report.refused_by {
                println!("refused: {} ({})", notice.message, notice.hint);
            }
            if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}
