//! Everything that a resumed run needs to repeat the bits of an uninterrupted one.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::files::{remove_folder, restore, write_folder, write_whole};
use crate::kept::Kept;
use crate::learner::Learner;

const LEARNER: &str = "learner.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const KEPT: &str = "kept.json";
const STATE: &str = "state.toml";
/// Checkpoints kept: the newest, and one before it in case the newest is lost with a disk.
const NEWEST: usize = 2;

/// Where a run stands. Batches, views and the learning rate are functions of the seed and these counters, so no
/// generator has a state to save.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct State {
    /// The epoch that comes next or is under way, from 0.
    pub epoch: usize,
    /// Batches of that epoch that are done.
    pub batch: usize,
    /// Optimizer steps done.
    pub step: usize,
    /// Sum of the losses of the epoch so far, for its mean.
    pub loss_sum: f64,
    /// Sum of the shares of active terms of the epoch so far.
    pub active_sum: f64,
    /// Samples of the epoch so far that the online probe classified, and those of them that it classified rightly.
    #[serde(default)]
    pub probed: usize,
    #[serde(default)]
    pub known: usize,
    /// The best validation so far, and its epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<f64>,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
    /// Seconds beside these that training waited for data.
    #[serde(default)]
    pub waited: f64,
}

impl State {
    /// The online probe's accuracy over the epoch so far; `None` without a probe.
    pub(crate) fn probe_accuracy(&self) -> Option<f64> {
        (self.probed > 0).then(|| self.known as f64 / self.probed as f64)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    state: State,
    /// BLAKE3 of each file beside this one.
    files: std::collections::BTreeMap<String, String>,
}

/// The `checkpoints` folder of a run.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// In a run folder.
    pub(crate) fn of(run: &Path) -> Self {
        Self { folder: run.join("checkpoints") }
    }

    /// Saves a checkpoint, whole or not at all, and drops all but the newest two.
    ///
    /// # Errors
    /// When it cannot be written; earlier checkpoints stay.
    pub(crate) fn save(
        &self,
        state: &State,
        learner: &Learner,
        optimizer: &ModuleOptimizer,
        kept: &Kept,
    ) -> Result<(), TrainError> {
        fs::create_dir_all(&self.folder).map_err(TrainError::io("create", &self.folder))?;
        // Batch norms apply their pending running statistics when a network is switched to evaluation; a record
        // taken before that would be one step behind.
        let _ = learner.network.valid();
        write_folder(&self.path(state.step), |folder| {
            let record =
                learner.clone().into_record().into_bytes().map_err(unwritable(&folder.join(LEARNER)))?;
            let moments = optimizer.into_bytes().map_err(unwritable(&folder.join(OPTIMIZER)))?;
            let kept = kept.to_bytes().map_err(unwritable(&folder.join(KEPT)))?;
            let mut saved = Saved { state: state.clone(), files: Default::default() };
            for (name, bytes) in [(LEARNER, &record[..]), (OPTIMIZER, &moments[..]), (KEPT, &kept[..])] {
                saved.files.insert(name.to_owned(), blake3::hash(bytes).to_hex().to_string());
                write_whole(&folder.join(name), bytes)?;
            }
            let text = toml::to_string(&saved)
                .map_err(|e| TrainError::Toml { path: folder.join(STATE), message: e.to_string() })?;
            write_whole(&folder.join(STATE), text.as_bytes())
        })?;
        let steps = self.steps()?;
        for step in &steps[..steps.len().saturating_sub(NEWEST)] {
            remove_folder(&self.path(*step))?;
        }
        Ok(())
    }

    /// Loads the newest checkpoint into what the same recipe makes.
    ///
    /// # Errors
    /// When there is none, or its bytes are not those that were saved; the message says what to do.
    pub(crate) fn load(
        &self,
        learner: Learner,
        optimizer: ModuleOptimizer,
    ) -> Result<(State, Learner, ModuleOptimizer, Kept), TrainError> {
        let steps = self.steps()?;
        let Some(newest) = steps.last() else {
            return Err(TrainError::NoCheckpoint(self.folder.parent().unwrap_or(&self.folder).to_owned()));
        };
        let folder = self.path(*newest);
        let advice = match steps.len() {
            1 => "there is no earlier checkpoint, so start the run again".to_owned(),
            n => format!("remove {} to go on from step {}", folder.display(), steps[n - 2]),
        };
        let damaged = |name: &str, reason: String| TrainError::Damaged {
            path: folder.join(name),
            reason,
            advice: advice.clone(),
        };
        let read = |name: &str| fs::read(folder.join(name)).map_err(|e| damaged(name, e.to_string()));
        let text = String::from_utf8(read(STATE)?).map_err(|e| damaged(STATE, e.to_string()))?;
        let saved: Saved = toml::from_str(&text).map_err(|e| damaged(STATE, e.message().to_owned()))?;
        let whole = |name: &str| {
            let bytes = read(name)?;
            let found = blake3::hash(&bytes).to_hex().to_string();
            if saved.files.get(name) == Some(&found) {
                Ok(bytes)
            } else {
                Err(damaged(name, "its checksum does not match".to_owned()))
            }
        };
        let record = whole(LEARNER)?;
        let moments = whole(OPTIMIZER)?;
        let kept = Kept::from_bytes(&whole(KEPT)?).map_err(|e| damaged(KEPT, e))?;
        let record = ModuleRecord::from_bytes(burn::tensor::Bytes::from_bytes_vec(record))
            .map_err(|e| damaged(LEARNER, e.to_string()))?;
        let learner = learner.load_record(record);
        // After the learner: the optimizer's state is keyed by the parameters' ids, which the record restores.
        let optimizer = optimizer
            .from_bytes(burn::tensor::Bytes::from_bytes_vec(moments))
            .map_err(|e| damaged(OPTIMIZER, e.to_string()))?;
        Ok((saved.state, learner, optimizer, kept))
    }

    fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("step-{step:08}"))
    }

    /// The steps of whole checkpoints, ascending.
    fn steps(&self) -> Result<Vec<usize>, TrainError> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Ok(Vec::new()) };
        let step_of = |name: &str| name.strip_prefix("step-").and_then(|digits| digits.parse().ok());
        for entry in entries.flatten() {
            if let Some(name) = entry.file_name().to_str().and_then(|n| n.strip_suffix(".old")) {
                restore(&self.folder.join(name))?;
            }
        }
        let entries = fs::read_dir(&self.folder).map_err(TrainError::io("read", &self.folder))?;
        let mut steps: Vec<usize> =
            entries.flatten().filter_map(|e| e.file_name().to_str().and_then(step_of)).collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

fn unwritable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> TrainError {
    let path = path.to_owned();
    move |e| TrainError::Io { action: "write", path, source: std::io::Error::other(e.to_string()) }
}
