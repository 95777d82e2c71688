//! What the tests of the command line share: the program, the images in the repository, small images made up on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};

/// The program, from the root of the repository, as a user runs it.
pub fn nearkin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearkin"));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    command
}

/// Runs the program to its end, and checks what must hold however it ends: no panic.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    let mut command = nearkin();
    command.args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let ended = Ended {
        command: format!("{command:?}"),
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    };
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// How the program ended.
#[derive(Debug)]
#[expect(dead_code, reason = "the command is there to be printed when a test fails")]
pub struct Ended {
    pub command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// It did what it was asked.
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It ended with this exit code and one message, which says all of `words`.
    #[track_caller]
    pub fn with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let errors = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "one message: {self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no '{word}' in {self:#?}");
        }
        self
    }

    /// The objects of `--json`, one a line.
    #[track_caller]
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A recipe that trains in seconds.
pub fn write_recipe(folder: &Path, method: &str) -> PathBuf {
    let method = match method {
        "batch-hard" => "kind = \"batch-hard\"\nclasses = 8\nper-class = 4\nmargin = { hinge = 0.3 }",
        "supcon" => "kind = \"supcon\"\nclasses = 8\nper-class = 4",
        "proxy-anchor" => "kind = \"proxy-anchor\"\nclasses = 8\nper-class = 4",
        "simclr" => "kind = \"simclr\"\nbatch = 48\nhidden = 32\nprojection = 16",
        other => panic!("no recipe for {other}"),
    };
    let path = folder.join("recipe.toml");
    let text = format!(
        "seed = 5\nepochs = 4\nhold-out = 0.0\n[method]\n{method}\n[encoder]\nkind = \"small-conv\"\nwidth = 8\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// A folder of `per_class` noisy 24 × 24 PNGs a class, each class with a colour of its own.
pub fn write_classes(root: &Path, classes: &[&str], per_class: u32) {
    for (class, name) in (0u32..).zip(classes) {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..per_class {
            let image = RgbImage::from_fn(24, 24, |x, y| {
                let noise = (x * 7 + y * 13 + i * 31) % 60;
                let on = |channel: u32| (noise + if class % 3 == channel { 150 } else { 20 * class }) as u8;
                Rgb([on(0), on(1), on(2)])
            });
            image.save(folder.join(format!("{i:03}.png"))).unwrap();
        }
    }
}
