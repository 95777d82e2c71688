//! The springs of a map on a plane over training: by them Hadsell, Chopra and LeCun 2006 (DrLIM) explain their loss, and by watching
//! them one sees a map unfold.
//!
//! For losses of pairs whose forces depend on the distance alone. A few samples, the first batch of the run, are placed
//! about [`MOMENTS`] times, more often early when most happens, with the strongest springs among them.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use nearkin_sweep::{Kin, Relation};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::files::write_whole;
use crate::methods::Method;

/// In the run folder: a line for the cast, then one a moment.
const FILE: &str = "springs.jsonl";
/// Moments of a run.
const MOMENTS: usize = 90;
/// Samples that are shown.
const CAST: usize = 128;
/// Springs of either kind that are shown at once.
const SHOWN: usize = 150;

/// What a loss of pairs does to a set of points: means over all its pairs, so that the two can be compared. Forces of many strangers
/// around a point cancel, so the two need not be equal at rest.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Forces {
    /// Mean force that draws kin together.
    pub attraction: f64,
    /// Mean force that pushes strangers apart.
    pub repulsion: f64,
    /// Share of the strangers that push at all: those within the margin.
    pub within_margin: f64,
}

/// A force between two of the cast, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spring(pub u16, pub u16, pub f32);

/// The samples that are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cast {
    /// Their ids.
    pub ids: Vec<String>,
    /// Their classes by number; empty without labels.
    pub labels: Vec<u32>,
    /// The names of the classes.
    pub classes: Vec<String>,
}

/// Where the cast is at one moment, and what pulls at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// A place a sample.
    pub places: Vec<[f32; 2]>,
    /// All forces among them.
    pub forces: Forces,
    /// The strongest springs between kin.
    pub attracting: Vec<Spring>,
    /// The strongest springs between strangers; their forces are positive too.
    pub repelling: Vec<Spring>,
}

/// The springs of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SpringRecord {
    /// Who is shown.
    pub cast: Cast,
    /// In the order of steps.
    pub moments: Vec<Moment>,
}

impl SpringRecord {
    /// What a run folder has recorded; `None` where nothing was, as with maps of more than two dimensions. A last line that was
    /// cut off is left out.
    ///
    /// # Errors
    /// When the file cannot be read, or does not begin with a cast.
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        let path = folder.join(FILE);
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(TrainError::io("read", &path))?,
        };
        let mut lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let cast = lines.next().unwrap_or_default();
        let cast = serde_json::from_slice(&cast).map_err(|e| TrainError::io("read", &path)(e.into()))?;
        let moments = lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect();
        Ok(Some(Self { cast, moments }))
    }
}

/// Records springs during a training.
pub(crate) struct Recorder {
    path: PathBuf,
    /// The cast as numbers in the data.
    pub samples: Vec<usize>,
    due: HashSet<usize>,
}

impl Recorder {
    /// Of a run of so many steps; its cast are the first of `batch`, each once.
    pub fn new(folder: &Path, batch: &[usize], steps: usize) -> Self {
        let mut seen = HashSet::new();
        let samples = batch.iter().copied().filter(|&i| seen.insert(i)).take(CAST).collect();
        let last = MOMENTS - 1;
        let due = (0..MOMENTS).map(|i| steps * i * i / (last * last)).collect();
        Self { path: folder.join(FILE), samples, due }
    }

    /// Whether the moment after `step` steps is one to be recorded.
    pub fn is_due(&self, step: usize) -> bool {
        self.due.contains(&step)
    }

    /// Begins the record.
    pub fn begin(&self, cast: &Cast) -> Result<(), TrainError> {
        write_whole(&self.path, line(cast, &self.path)?.as_bytes())
    }

    pub fn record(&self, moment: &Moment) -> Result<(), TrainError> {
        let text = line(moment, &self.path)?;
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(TrainError::io("write", &self.path))
    }

    /// Drops what was recorded after `step`: a resumed run goes through those steps again.
    pub fn rewind(&self, folder: &Path, step: usize) -> Result<(), TrainError> {
        let Some(SpringRecord { cast, moments }) = SpringRecord::read(folder)? else { return Ok(()) };
        let mut text = line(&cast, &self.path)?;
        for moment in moments.iter().filter(|moment| moment.step <= step) {
            text += &line(moment, &self.path)?;
        }
        write_whole(&self.path, text.as_bytes())
    }
}

fn line(value: &impl Serialize, path: &Path) -> Result<String, TrainError> {
    let text = serde_json::to_string(value).map_err(|e| TrainError::io("write", path)(e.into()))?;
    Ok(text + "\n")
}

/// The forces of a method among points, `dim` values each, and the strongest springs of either kind. `None` for methods whose
/// forces are not those of pairs.
pub(crate) fn springs(
    method: &dyn Method,
    points: &[f32],
    dim: usize,
    kin: &dyn Kin,
) -> Option<(Forces, Vec<Spring>, Vec<Spring>)> {
    method.force(0.0, true)?;
    let n = points.len() / dim;
    let mut relations = vec![Relation::Excluded; n];
    let (mut attracting, mut repelling) = (Vec::new(), Vec::new());
    let (mut pairs, mut strangers) = (0usize, 0usize);
    let mut forces = Forces::default();
    for i in 0..n {
        kin.relate(i, 0, &mut relations);
        for (j, relation) in relations.iter().enumerate().skip(i + 1) {
            let [a, b] = [i, j].map(|at| &points[at * dim..(at + 1) * dim]);
            let distance = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt();
            let is_kin = match relation {
                Relation::Excluded => continue,
                relation => *relation == Relation::Kin,
            };
            let force = method.force(distance, is_kin)?;
            pairs += 1;
            strangers += usize::from(!is_kin);
            let spring = Spring(i as u16, j as u16, force.abs());
            if force > 0.0 {
                forces.attraction += f64::from(force);
                attracting.push(spring);
            } else if force < 0.0 {
                forces.repulsion -= f64::from(force);
                forces.within_margin += 1.0;
                repelling.push(spring);
            }
        }
    }
    forces.attraction /= pairs.max(1) as f64;
    forces.repulsion /= pairs.max(1) as f64;
    forces.within_margin /= strangers.max(1) as f64;
    for springs in [&mut attracting, &mut repelling] {
        springs.sort_by(|a, b| b.2.total_cmp(&a.2));
        springs.truncate(SHOWN);
    }
    Some((forces, attracting, repelling))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{DrLimMethod, MethodConfig};
    use nearkin_sweep::{Graph, SameLabel};

    #[test]
    fn the_forces_of_three_points_are_the_hand_worked_ones() {
        // The default margin of 1, and the paper's stiffness. Kin 0 and 1 at distance 2; strangers 1 and 2 at ¼, 0 and 2 beyond it.
        let method =
            MethodConfig::Drlim(DrLimMethod { stiffness: 1.0, ..DrLimMethod::default() }).build().unwrap();
        let points = [0.0, 0.0, 2.0, 0.0, 2.0, 0.25];
        let kin = Graph::within(3, [(0, 1)]).unwrap();
        let (forces, attracting, repelling) = springs(method.as_ref(), &points, 2, &kin).unwrap();
        assert_eq!(attracting, [Spring(0, 1, 2.0)]);
        assert_eq!(repelling, [Spring(1, 2, 0.75)]);
        assert_eq!(forces, Forces { attraction: 2.0 / 3.0, repulsion: 0.25, within_margin: 0.5 });
        // A triplet's force is not one of a pair.
        let other = MethodConfig::by_name("batch-hard").unwrap().build().unwrap();
        assert!(springs(other.as_ref(), &points, 2, &SameLabel::within(&[0, 0, 1])).is_none());
    }

    #[test]
    fn moments_begin_at_the_start_come_early_and_end_at_the_end() {
        let recorder = Recorder::new(Path::new("x"), &[7, 3, 7, 5], 1000);
        assert_eq!(recorder.samples, [7, 3, 5]);
        assert!(recorder.is_due(0) && recorder.is_due(1000) && !recorder.is_due(999));
        let early = (0..250).filter(|step| recorder.is_due(*step)).count();
        assert!(early > 30, "{early}");
        let short = Recorder::new(Path::new("x"), &[1], 3);
        assert!((0..=3).all(|step| short.is_due(step)));
    }

    #[test]
    fn what_was_recorded_is_read_again_and_forgotten_after_a_step() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SpringRecord::read(dir.path()).unwrap(), None);
        let recorder = Recorder::new(dir.path(), &[0, 1], 10);
        let cast = Cast { ids: vec!["a".into(), "b".into()], labels: Vec::new(), classes: Vec::new() };
        recorder.begin(&cast).unwrap();
        let moment = |step| Moment {
            step,
            places: vec![[0.0, 1.0], [2.0, 3.5]],
            forces: Forces::default(),
            attracting: vec![Spring(0, 1, 0.5)],
            repelling: Vec::new(),
        };
        for step in [0, 5, 10] {
            recorder.record(&moment(step)).unwrap();
        }
        recorder.rewind(dir.path(), 5).unwrap();
        let found = SpringRecord::read(dir.path()).unwrap().unwrap();
        assert_eq!(found, SpringRecord { cast, moments: vec![moment(0), moment(5)] });
    }
}
