//! A small airplane drawn from all around, under several lights: a stand-in for the pose experiment of Hadsell, Chopra and LeCun
//! 2006 (DrLIM), which took 972 images of NORB: 18 azimuths, 9 elevations, 6 lightings.
//!
//! The drawing is plain: 92 triangles, seen in parallel projection; Lambert's law with a share of even light; a depth buffer; and
//! 4 × 4 samples a pixel. Only sums, products, quotients and square roots of f64 are taken, and sines in software, so the bits are
//! the same on every machine and any number of threads.

mod airplane;
mod raster;

use std::fs;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;

use self::airplane::{Triangle, airplane};
use crate::attributes::Attributes;
use crate::dataset::{Dataset, Sample};
use crate::error::DataError;
use crate::files::write_whole;
use crate::image::Image;

/// The file beside the images that names the pose of each.
pub const ANNOTATIONS: &str = "annotations.csv";

/// The columns of [`ANNOTATIONS`], and the attributes of [`PoseSet::dataset`].
pub const COLUMNS: [&str; 3] = ["azimuth", "elevation", "lighting"];

/// The lowest and the highest elevation in degrees, NORB's.
const ELEVATIONS: [f64; 2] = [30.0, 70.0];

/// How high the lamp stands at even and at odd places, in degrees: so the wings too, which lie flat, change with the light.
const LIGHT_ELEVATIONS: [f64; 2] = [20.0, 60.0];

/// Which poses are drawn, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoseSet {
    /// Turns of the airplane about its vertical axis, evenly around the circle.
    pub azimuths: usize,
    /// Heights of the eye, evenly from 30° to 70°.
    pub elevations: usize,
    /// Places of the only lamp, evenly around the vertical axis and by turns low and high: they stay where they are when the
    /// airplane turns.
    pub lightings: usize,
    /// The side of the square images in pixels.
    pub size: usize,
}

impl Default for PoseSet {
    /// The paper's 18 × 9 × 6 = 972, at NORB's 96 pixels.
    fn default() -> Self {
        Self { azimuths: 18, elevations: 9, lightings: 6, size: 96 }
    }
}

/// One view of the airplane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Degrees from 0 (nose towards the eye) up to 360, counterclockwise from above.
    pub azimuth: f64,
    /// Degrees of the eye above the horizon.
    pub elevation: f64,
    /// The number of the lamp's place.
    pub lighting: usize,
}

impl Pose {
    /// The values of [`COLUMNS`].
    fn columns(self) -> [String; 3] {
        [self.azimuth.to_string(), self.elevation.to_string(), self.lighting.to_string()]
    }
}

impl PoseSet {
    fn check(&self) -> Result<(), DataError> {
        for (field, found, most) in [
            ("azimuths", self.azimuths, 360),
            ("elevations", self.elevations, 90),
            ("lightings", self.lightings, 360),
        ] {
            if found == 0 || found > most {
                return Err(DataError::setting(field, found, format!("1 to {most}")));
            }
        }
        if !(8..=1024).contains(&self.size) {
            return Err(DataError::setting("size", self.size, "8 to 1024 pixels"));
        }
        Ok(())
    }

    /// All poses: by azimuth, then elevation, then lighting.
    #[must_use]
    pub fn poses(&self) -> Vec<Pose> {
        let [low, high] = ELEVATIONS;
        let step = |i: usize, of: usize| i as f64 / of.max(1) as f64;
        let mut poses = Vec::with_capacity(self.azimuths * self.elevations * self.lightings);
        for azimuth in 0..self.azimuths {
            for elevation in 0..self.elevations {
                for lighting in 0..self.lightings {
                    poses.push(Pose {
                        azimuth: 360.0 * azimuth as f64 / self.azimuths as f64,
                        elevation: low + (high - low) * step(elevation, self.elevations.saturating_sub(1)),
                        lighting,
                    });
                }
            }
        }
        poses
    }

    /// Draws one pose, in grey.
    fn draw(&self, triangles: &[Triangle], pose: Pose) -> Image {
        let lamp = 360.0 * pose.lighting as f64 / self.lightings as f64 + 180.0 / self.lightings as f64;
        let view = raster::View {
            azimuth: pose.azimuth,
            elevation: pose.elevation,
            light: raster::direction(lamp, LIGHT_ELEVATIONS[pose.lighting % 2]),
        };
        let pixels = raster::draw(triangles, &view, self.size);
        Image { width: self.size, height: self.size, channels: 1, pixels }
    }

    /// All poses with their file names, drawn in parallel.
    fn images(&self) -> Result<Vec<(String, Pose, Image)>, DataError> {
        self.check()?;
        let triangles = airplane();
        let numbered = |(i, pose): (usize, Pose)| {
            let lighting = i % self.lightings;
            let elevation = i / self.lightings % self.elevations;
            let azimuth = i / self.lightings / self.elevations;
            (format!("a{azimuth:03}-e{elevation:02}-l{lighting:03}.png"), pose, self.draw(&triangles, pose))
        };
        Ok(self.poses().into_par_iter().enumerate().map(numbered).collect())
    }

    /// All poses as a data set in memory without classes, with the attributes `azimuth`, `elevation` (degrees) and `lighting`
    /// (a number from 0).
    ///
    /// # Errors
    /// [`DataError::Setting`] when the size or a count is out of its range.
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        let (mut samples, mut images) = (Vec::new(), Vec::new());
        let mut columns: [Vec<Option<String>>; 3] = Default::default();
        for (id, pose, image) in self.images()? {
            samples.push(Sample { id, path: None, label: None, split: None });
            images.push(image);
            for (column, value) in columns.iter_mut().zip(pose.columns()) {
                column.push(Some(value));
            }
        }
        let mut attributes = Attributes::default();
        for (name, column) in COLUMNS.into_iter().zip(columns) {
            attributes.push(name, column)?;
        }
        Dataset::in_memory("rendered poses", samples, images, Vec::new(), attributes)
    }

    /// Makes the folder `out` with a PNG for every pose and [`ANNOTATIONS`], a manifest with the columns `path`, `azimuth`,
    /// `elevation` and `lighting`; gives the number of images. The folder appears whole or not at all: it is filled under another
    /// name beside.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the size or a count is out of its range, or `out` exists and is not an empty folder;
    /// [`DataError::Write`].
    pub fn write(&self, out: &Path) -> Result<usize, DataError> {
        if out.exists() {
            let empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
            if !empty {
                let wanted = "a folder that does not exist yet or is empty: choose another";
                return Err(DataError::setting("out", out.display(), wanted));
            }
        }
        let images = self.images()?;
        let parent = match out.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let written = |path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Write { path, source }
        };
        fs::create_dir_all(parent).map_err(written(parent))?;
        let beside =
            tempfile::Builder::new().prefix(".poses-").tempdir_in(parent).map_err(written(parent))?;
        let mut lines = format!("path,{}\n", COLUMNS.join(","));
        for (name, pose, image) in &images {
            lines += &format!("{name},{}\n", pose.columns().join(","));
            write_png(&beside.path().join(name), image).map_err(written(&out.join(name)))?;
        }
        write_whole(&beside.path().join(ANNOTATIONS), lines.as_bytes())
            .map_err(written(&out.join(ANNOTATIONS)))?;
        if out.exists() {
            fs::remove_dir(out).map_err(written(out))?;
        }
        let full = beside.keep();
        open_to_all(&full).and_then(|()| fs::rename(&full, out)).map_err(|source| {
            // Nothing half-named is left behind; that it may fail too changes nothing for the user.
            let _ = fs::remove_dir_all(&full);
            DataError::write(out, source)
        })?;
        Ok(images.len())
    }
}

/// Temporary folders are their owner's alone; what is kept gets the usual rights.
#[cfg(unix)]
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_all(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

fn write_png(path: &Path, image: &Image) -> std::io::Result<()> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&image.pixels, image.width as u32, image.height as u32, ExtendedColorType::L8)
        .map_err(std::io::Error::other)?;
    write_whole(path, &png)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> PoseSet {
        PoseSet { azimuths: 4, elevations: 2, lightings: 3, size: 24 }
    }

    #[test]
    fn the_papers_set_has_972_poses_around_the_circle() {
        let poses = PoseSet::default().poses();
        assert_eq!(poses.len(), 972);
        assert_eq!(poses[0], Pose { azimuth: 0.0, elevation: 30.0, lighting: 0 });
        assert_eq!(poses[6], Pose { azimuth: 0.0, elevation: 35.0, lighting: 0 });
        assert_eq!(poses[971], Pose { azimuth: 340.0, elevation: 70.0, lighting: 5 });
    }

    #[test]
    fn the_bits_are_the_same_on_every_machine() {
        let mut hasher = blake3::Hasher::new();
        let set = PoseSet { azimuths: 18, elevations: 3, lightings: 2, size: 48 };
        for (name, _, image) in set.images().unwrap() {
            hasher.update(name.as_bytes());
            hasher.update(&image.pixels);
        }
        assert_eq!(
            hasher.finalize().to_hex().as_str(),
            "42514c0513166df0d32c5c084772205d058b520ed7e5f4835cdcfed0f98e2376"
        );
    }

    #[test]
    fn the_airplane_fills_the_picture_and_never_touches_its_edge() {
        let set = PoseSet { size: 64, ..PoseSet::default() };
        let plane = airplane();
        for pose in set.poses().into_iter().filter(|pose| pose.lighting == 0) {
            let image = set.draw(&plane, pose);
            let ground = image.pixels[0];
            let edge = |i: usize| [i / 64, i % 64].iter().any(|at| matches!(at, 0 | 63));
            assert!((0..64 * 64).filter(|&i| edge(i)).all(|i| image.pixels[i] == ground), "{pose:?}");
            let covered = image.pixels.iter().filter(|&&v| v != ground).count();
            assert!((400..2400).contains(&covered), "{pose:?}: {covered}");
        }
    }

    #[test]
    fn azimuth_elevation_and_light_each_change_the_picture() {
        let set = small();
        let images = set.images().unwrap();
        for i in 0..images.len() {
            for j in 0..i {
                assert_ne!(images[i].2, images[j].2, "{} and {}", images[i].0, images[j].0);
            }
        }
    }

    #[test]
    fn the_folder_opens_as_a_data_set_with_its_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/poses");
        assert_eq!(small().write(&out).unwrap(), 24);
        let set = Dataset::open(&out.join(ANNOTATIONS)).unwrap();
        let made = small().dataset().unwrap();
        assert_eq!(set.len(), 24);
        assert_eq!(set.attributes(), COLUMNS);
        for name in COLUMNS {
            assert_eq!(set.numbers(name).unwrap(), made.numbers(name).unwrap());
        }
        assert_eq!(set.image(7).unwrap(), made.image(7).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
        let (again, notes) = Dataset::open(&out).unwrap().with_attributes(&out.join(ANNOTATIONS)).unwrap();
        assert_eq!((again.attribute("azimuth").unwrap()[23], notes), (Some("270"), Vec::new()));

        let text = small().write(&out).unwrap_err().to_string();
        assert!(text.contains("does not exist yet or is empty"), "{text}");
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert_eq!(small().write(&empty).unwrap(), 24);
    }

    #[test]
    fn counts_and_sizes_out_of_range_are_named() {
        for (set, field) in [
            (PoseSet { azimuths: 0, ..small() }, "azimuths"),
            (PoseSet { elevations: 91, ..small() }, "elevations"),
            (PoseSet { lightings: 0, ..small() }, "lightings"),
            (PoseSet { size: 4, ..small() }, "size"),
        ] {
            assert!(set.dataset().unwrap_err().to_string().starts_with(field));
        }
        let one = PoseSet { azimuths: 1, elevations: 1, lightings: 1, size: 8 };
        assert_eq!(one.dataset().unwrap().len(), 1);
    }
}
