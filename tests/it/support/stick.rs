//! Sticks with file systems of their own, which fold names and keep no permissions.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// A stick with a file system of its own, mounted by the program that serves it.
#[derive(Debug)]
pub(crate) struct Stick {
    pub(crate) path: PathBuf,
    kind: &'static str,
    device: Option<String>,
    folder: tempfile::TempDir,
}

impl Stick {
    /// The kinds of file systems there are.
    pub(crate) const KINDS: [&'static str; 2] = ["exfat", "ntfs"];

    /// Makes and mounts one; says why if it cannot be had. To be called in a mount namespace of its own.
    pub(crate) fn new(kind: &'static str, skip: fn(&str)) -> Option<Self> {
        let (make, options): (&str, &[&str]) =
            if kind == "exfat" { ("mkfs.exfat", &[]) } else { ("mkfs.ntfs", &["-F", "-q"]) };
        let folder = tempfile::tempdir().unwrap();
        let (image, path) = (folder.path().join("image"), folder.path().join("mounted"));
        std::fs::create_dir(&path).unwrap();
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new(make).args(options).arg(&image).output();
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            skip(&format!("a stick with {kind} needs {make}: {made:?}"));
            return None;
        }
        let mut stick = Self { path, kind, device: None, folder };
        if Command::new(stick.program()).arg("--help").output().is_err() {
            skip(&format!("a stick with {kind} needs {}", stick.program()));
            return None;
        }
        if let Err(why) = stick.plug() {
            crate::local::refused(&format!("a stick with {kind} cannot be mounted: {why}"));
            return None;
        }
        Some(stick)
    }

    fn plug(&mut self) -> Result<(), String> {
        let run = |program: &str, words: &[&str]| {
            let output =
                Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
            if output.status.success() { Ok(output) } else { Err(format!("{program}: {output:?}")) }
        };
        let image = self.folder.path().join("image");
        let found = run("losetup", &["-f", "--show", image.to_str().unwrap()])?;
        let device = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        self.device = Some(device.clone());
        let path = self.path.to_str().unwrap();
        run(self.program(), &[&device, path]).map(drop)
    }

    fn program(&self) -> &'static str {
        if self.kind == "exfat" { "mount.exfat-fuse" } else { "ntfs-3g" }
    }

    fn unplug(&mut self) {
        // The program that serves it may still write.
        for _ in 0..50 {
            let done = Command::new("umount").arg(&self.path).output();
            if done.is_ok_and(|output| output.status.success()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        if let Some(device) = self.device.take() {
            drop(Command::new("losetup").args(["-d", &device]).output());
        }
    }

    /// Takes it out and puts it in again.
    pub(crate) fn replug(&mut self) {
        self.unplug();
        // Until the program has let go of the device.
        let mut left = 50;
        while let Err(why) = self.plug() {
            left -= 1;
            assert!(left > 0, "{why}");
            self.unplug();
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        self.unplug();
    }
}
