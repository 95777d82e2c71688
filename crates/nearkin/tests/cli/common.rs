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

/// Small recipes of methods of images, by a name of the method or of a variant.
pub const METHODS: [(&str, &str); 20] = [
    ("batch-hard", "kind = \"batch-hard\"\nclasses = 8\nper-class = 4\nmargin = { hinge = 0.3 }"),
    ("supcon", "kind = \"supcon\"\nclasses = 8\nper-class = 4"),
    ("proxy-anchor", "kind = \"proxy-anchor\"\nclasses = 8\nper-class = 4"),
    ("simclr", "kind = \"simclr\"\nbatch = 48\nhidden = 32\nprojection = 16"),
    ("npid", "kind = \"npid\"\nbatch = 48\nproximal = 0.5"),
    ("npid-nce", "kind = \"npid\"\nbatch = 48\ndraws = 20"),
    ("exemplar-cnn", "kind = \"exemplar-cnn\"\nbatch = 48\nsurrogates = 480\ncopies = 3"),
    (
        "exemplar-cnn-patches",
        "kind = \"exemplar-cnn\"\nbatch = 48\nsurrogates = 600\npatch = [0.4, 0.8]\ncopies = 3\nclassifier = \"linear\"",
    ),
    ("moco", "kind = \"moco\"\nbatch = 48\nqueue = 100\nhidden = 32\nprojection = 16\ngroups = 4"),
    ("moco-v3", "kind = \"moco\"\nversion = \"v3\"\nbatch = 48\nhidden = 32\nprojection = 16"),
    ("nnclr", "kind = \"nnclr\"\nbatch = 48\nqueue = 100\nhidden = 32\nprojection = 16"),
    ("byol", "kind = \"byol\"\nbatch = 48\nhidden = 32\nprojection = 16"),
    ("simsiam", "kind = \"simsiam\"\nbatch = 48\nprojection = 32"),
    ("barlow-twins", "kind = \"barlow-twins\"\nbatch = 48\nprojection = 32"),
    ("vicreg", "kind = \"vicreg\"\nbatch = 48\nprojection = 32"),
    ("w-mse", "kind = \"w-mse\"\nbatch = 48\nslice = 24\nhidden = 32\nprojection = 8"),
    (
        "swav",
        "kind = \"swav\"\nbatch = 48\nprototypes = 20\nqueue = 96\nqueue-from = 1.5\nsmall-crops = 2\nsmall-size = 12\n\
             hidden = 32\nprojection = 16",
    ),
    (
        "dino",
        "kind = \"dino\"\nbatch = 48\nsmall-crops = 2\nsmall-size = 12\nhead = { hidden = 32, bottleneck = 8, out = 40 }",
    ),
    ("mae", "kind = \"mae\"\nbatch = 48\ndecoder = { width = 16, depth = 1, heads = 2 }"),
    ("i-jepa", "kind = \"i-jepa\"\nbatch = 48\npredictor = { width = 16, depth = 1, heads = 2 }"),
];

/// A recipe that trains in seconds.
pub fn write_recipe(folder: &Path, method: &str) -> PathBuf {
    let found = METHODS.iter().find(|(name, _)| *name == method);
    let (_, method) = found.unwrap_or_else(|| panic!("no recipe for {method}"));
    let encoder = match method.contains("mae") || method.contains("i-jepa") {
        true => "kind = \"vit\"\npatch = 4\ndepth = 2\nwidth = 24\nheads = 2",
        false => "kind = \"small-conv\"\nwidth = 8",
    };
    let path = folder.join("recipe.toml");
    let text = format!("seed = 5\nepochs = 4\nhold-out = 0.0\n[method]\n{method}\n[encoder]\n{encoder}\n");
    fs::write(&path, text).unwrap();
    path
}

/// The steps that a run has logged so far; a line under way is left out.
pub fn steps(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["event"] == "step").collect()
}

/// The losses of [`steps`].
pub fn losses(run: &Path) -> Vec<f64> {
    steps(run).iter().map(|step| step["loss"].as_f64().unwrap()).collect()
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
