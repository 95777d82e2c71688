//! The springs of a run, for its report.

use std::path::Path;

use nearkin_eval::{SpringFilm, SpringMoment};
use nearkin_train::{Spring, SpringRecord};

use crate::failure::Failure;

/// What a run recorded of its springs; `None` for a folder that is no run, and for runs that have nothing to show.
pub fn film(folder: &Path) -> Result<Option<SpringFilm>, Failure> {
    let Some(SpringRecord { cast, moments }) = SpringRecord::read(folder)? else { return Ok(None) };
    let drawn = |springs: Vec<Spring>| springs.into_iter().map(|Spring(a, b, force)| (a, b, force)).collect();
    let moments = moments.into_iter().map(|moment| SpringMoment {
        step: moment.step,
        points: moment.places,
        springs: [drawn(moment.attracting), drawn(moment.repelling)],
        attraction: moment.forces.attraction,
        repulsion: moment.forces.repulsion,
    });
    Ok(Some(SpringFilm {
        hint: format!(
            "{} samples, those of the first batch, as training places them, at one scale. Green: kin attract, however far apart. Red and \
             dotted: strangers within the margin repel. The thicker a spring, the stronger; only the strongest are drawn. The figures \
             are mean forces over all their pairs.",
            cast.ids.len()
        ),
        labels: cast.labels,
        classes: cast.classes,
        names: cast.ids,
        moments: moments.collect(),
    }))
}
