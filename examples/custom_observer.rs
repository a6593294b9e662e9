//! Follows a run through its events, on two trees in memory: `cargo run --example custom_observer`.

use std::sync::Arc;

use syncengine::state::{Found, memory::MemoryState};
use syncengine::{Event, Key, MemoryClient, Observer, SyncEngine, SyncOptions, SyncPair, Timestamp};

#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    #[expect(clippy::print_stdout, reason = "an example shows what happens")]
    fn observe(&self, event: &Event) {
        match event {
            Event::Planned { files, bytes, .. } => println!("copying {files} files, {bytes} bytes"),
            Event::Done(line) => println!("{} {} ({})", line.action, line.path, line.reason),
            Event::Failed(failure) => println!("failed: {}: {}", failure.path, failure.error),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (source, destination) = (MemoryClient::new("memory-1"), MemoryClient::new("memory-2"));
    source.put(Key::parse("a/hello.txt")?, "hello", Timestamp::new(1_700_000_000, 0));
    destination.put(Key::parse("b.txt")?, "from the other side", Timestamp::new(1_700_000_000, 0));

    let pair = SyncPair::with_clients(Arc::new(source), Arc::new(destination));
    let engine = SyncEngine::new("unused").state(Arc::new(MemoryState::new()), Found::Nothing);
    let options = SyncOptions::new().observer(Arc::new(Printer));
    assert!(engine.sync_pair(&pair, options).await?.is_success());
    Ok(())
}
