//! The run folder: what was trained, and how it went.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::files::write_whole;
use crate::progress::{EpochReport, StepReport};
use crate::recipe::Recipe;

/// What `run.toml` holds: the full resolved recipe, and what it was run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunFile {
    /// The version of nearkin that began the run.
    pub nearkin: String,
    /// The data, as an absolute path.
    pub data: PathBuf,
    /// The fingerprint of what is trained on: of the recipe's part, if it splits.
    pub fingerprint: String,
    /// Usable samples of that.
    pub samples: usize,
    /// Its classes.
    pub classes: Vec<String>,
    /// The fingerprint of the graph of kin, where the recipe has a rule for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kin: Option<String>,
    /// Every setting.
    pub recipe: Recipe,
}

/// What `run.toml` of a fitted method holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FitFile {
    /// The version of nearkin that made it.
    pub nearkin: String,
    /// The table, as an absolute path.
    pub data: PathBuf,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Rows that the method was fitted to.
    pub rows: usize,
    /// Rows held out.
    pub held_out: usize,
    /// Its classes.
    pub classes: Vec<String>,
    /// The label column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The id column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How the rows were divided, and how they became vectors.
    pub prepare: toml::Table,
    /// The method and every setting.
    pub fit: toml::Table,
}

/// How a fit went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// The method.
    pub method: String,
    /// Rows that it was fitted to.
    pub rows: usize,
    /// Rows held out, and measured; 0: the rows of the fit were measured, each against the others.
    pub held_out: usize,
    /// Dimensions of the map.
    pub dimension: usize,
    /// Seconds of the fit.
    pub seconds: f64,
    /// Measures by name: of the map, and of what it is compared with.
    pub measures: Vec<(String, f64, Option<f64>)>,
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Logged {
    /// A step.
    Step(StepReport),
    /// The end of an epoch.
    Epoch(EpochReport),
    /// A fit.
    Fit(FitReport),
}

impl Logged {
    fn step(&self) -> usize {
        match self {
            Logged::Step(report) => report.step,
            Logged::Epoch(report) => report.step,
            Logged::Fit(_) => 0,
        }
    }
}

/// A run folder.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    log: Option<File>,
}

impl Run {
    /// Makes the folder of a new run, whose `run.toml` is a [`RunFile`] or a [`FitFile`].
    ///
    /// # Errors
    /// When it exists and is not empty, or cannot be made or written.
    pub fn create(folder: &Path, file: &impl Serialize) -> Result<Self, TrainError> {
        Self::check_free(folder)?;
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let path = folder.join("run.toml");
        let text = toml::to_string(file)
            .map_err(|e| TrainError::Toml { path: path.clone(), message: e.to_string() })?;
        write_whole(&path, text.as_bytes())?;
        let mut run = Self { folder: folder.to_owned(), log: None };
        run.open_log()?;
        Ok(run)
    }

    /// Whether a new run may go to `folder`.
    ///
    /// # Errors
    /// When the folder exists and is not empty, or cannot be read.
    pub fn check_free(folder: &Path) -> Result<(), TrainError> {
        match fs::read_dir(folder) {
            Ok(mut entries) => match entries.next() {
                Some(_) => Err(TrainError::RunExists(folder.to_owned())),
                None => Ok(()),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(TrainError::io("use as a run folder", folder)(e)),
        }
    }

    /// Opens a run of `train` to read it.
    ///
    /// # Errors
    /// When the folder is no run, or was made by `fit`, or `run.toml` does not parse.
    pub fn open(folder: &Path) -> Result<(Self, RunFile), TrainError> {
        let path = folder.join("run.toml");
        if !path.is_file() {
            return Err(TrainError::NotARun { path: folder.to_owned(), missing: "run.toml" });
        }
        let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        if toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("fit")) {
            let missing = "recipe: it was made by `nearkin fit`, which leaves nothing to go on with";
            return Err(TrainError::NotARun { path: folder.to_owned(), missing });
        }
        let file: RunFile = toml::from_str(&text)
            .map_err(|e| TrainError::Toml { path, message: e.to_string().trim_end().to_owned() })?;
        Ok((Self { folder: folder.to_owned(), log: None }, file))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the model goes.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    fn open_log(&mut self) -> Result<&mut File, TrainError> {
        let path = self.log_path();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(TrainError::io("write", &path))?;
        Ok(self.log.insert(file))
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(&mut self, logged: &Logged) -> Result<(), TrainError> {
        let path = self.log_path();
        let mut line = serde_json::to_string(logged).map_err(|e| TrainError::io("write", &path)(e.into()))?;
        line.push('\n');
        let file = match &mut self.log {
            Some(file) => file,
            None => self.open_log()?,
        };
        file.write_all(line.as_bytes()).map_err(TrainError::io("write", &path))
    }

    /// The lines of `metrics.jsonl`; a last line that was cut off is left out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn logged(&self) -> Result<Vec<Logged>, TrainError> {
        let path = self.log_path();
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(TrainError::io("read", &path))?,
        };
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        Ok(lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect())
    }

    /// Drops what was logged after `step`: a resumed run goes through those steps again.
    pub(crate) fn rewind(&mut self, step: usize) -> Result<(), TrainError> {
        let mut text = String::new();
        for logged in self.logged()?.iter().filter(|l| l.step() <= step) {
            text += &serde_json::to_string(logged)
                .map_err(|e| TrainError::io("write", &self.log_path())(e.into()))?;
            text.push('\n');
        }
        self.log = None;
        write_whole(&self.log_path(), text.as_bytes())
    }
}
