//! Weights on disk: a network as safetensors with PyTorch's names, and backbones from PyTorch.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{
    BurnToPyTorchAdapter, ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore,
    bridge, burn_pack,
};
use burn::tensor::{DType, TensorData};

use crate::encoders::Encoder;
use crate::network::Network;
use crate::patches::grid_values;

/// What other programs put before a backbone's names.
const PREFIXES: [&str; 5] = ["state_dict.", "model.", "module.", "backbone.", "encoder."];
/// Tensors of an error message that are listed by name.
const LISTED: usize = 8;

/// What can go wrong with a weight file.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file's ending names no format that can be read.
    #[error(
        "{} ends in neither .safetensors nor .pth, .pt or .bin; convert the weights to safetensors",
        path.display()
    )]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or not what its ending says.
    #[error("cannot read {} as {format}: {reason}; fetch or export the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it was read as.
        format: &'static str,
        /// The reader's reason.
        reason: String,
    },
    /// Two tensors of the file have one name once prefixes are taken off.
    #[error("in {}, both {first} and {second} could be {name}; keep one of them", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// A tensor of the file.
        first: String,
        /// Another.
        second: String,
        /// What both would be.
        name: String,
    },
    /// The file holds another architecture. The network is left as it was.
    #[error("the weights in {} do not fit this network: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// How it differs.
        mismatch: Mismatch,
    },
    /// A weight that cannot be read from the network's device.
    #[error("cannot read the weight {name}: {reason}")]
    Read {
        /// Its name.
        name: String,
        /// The device's reason.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The writer's reason.
        reason: String,
    },
}

/// How the tensors of a file differ from those of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors the network has and the file lacks, with the shape wanted.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors the file has and the network lacks, with the shape found.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// Tensors of another shape: name, shape found, shape wanted.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that do not hold floating-point numbers: name, type found.
    pub types: Vec<(String, String)>,
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn list<T>(what: &str, items: &[T], show: impl Fn(&T) -> String) -> Option<String> {
            let shown: Vec<String> = items.iter().take(LISTED).map(show).collect();
            let mut text = format!("{} {what}: {}", items.len(), shown.join(", "));
            if items.len() > LISTED {
                write!(text, " and {} more", items.len() - LISTED).ok()?;
            }
            (!items.is_empty()).then_some(text)
        }
        let named = |(name, shape): &(String, Vec<usize>)| format!("{name} {shape:?}");
        let parts = [
            list("of another shape", &self.shapes, |(name, found, wanted)| {
                format!("{name} is {found:?}, wanted {wanted:?}")
            }),
            list("missing", &self.missing, named),
            list("unexpected", &self.unexpected, named),
            list("not floating-point", &self.types, |(name, found)| format!("{name} is {found}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "{}; use the encoder, channels and widths the weights were made with", parts.join("; "))
    }
}

/// What [`import_backbone`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Tensors of the encoder that were set, by name. All of them: a missing one is an error.
    pub applied: Vec<String>,
    /// Tensors of the file that have no place in the encoder, by the file's name; classifiers
    /// (`fc.*`) and `num_batches_tracked` are not listed.
    pub unused: Vec<String>,
}

/// Saves a network, or a part that a method keeps beside it, as safetensors: all parameters and running statistics, exactly.
///
/// Names and layouts are PyTorch's (`encoder.layer1.0.bn1.weight`, linear weights `[out, in]`), so
/// `safetensors.torch.load_file` gives a state dict. The file is written beside and renamed; an
/// existing one is replaced. The same weights give the same bytes.
///
/// # Errors
///
/// If the file cannot be written.
pub fn save_safetensors<M: Module>(network: &M, path: &Path) -> Result<(), WeightsError> {
    // One metadata entry: the format keeps several in no fixed order.
    let mut store = SafetensorsStore::from_file(path)
        .overwrite(true)
        .clear_metadata()
        .metadata("format", "pt")
        .skip_enum_variants(true)
        .with_to_adapter(BurnToPyTorchAdapter);
    network
        .save_into(&mut store)
        .map_err(|error| WeightsError::Write { path: path.to_owned(), reason: error.to_string() })
}

/// All parameters and running statistics of a module as f32, by PyTorch's names and in its layouts.
///
/// # Errors
///
/// If a value cannot be read from the module's device.
pub fn state_dict<M: Module>(module: &M) -> Result<BTreeMap<String, TensorData>, WeightsError> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true).into_iter();
    let read = |tensor: burn_pack::Tensor| {
        let name = tensor.name.clone();
        match bridge::into_data(tensor) {
            Ok(data) => Ok((name, data.convert_dtype(DType::F32))),
            Err(error) => Err(WeightsError::Read { name, reason: error.to_string() }),
        }
    };
    tensors.map(read).collect()
}

/// The weights of a model without its projector, for PyTorch: those of the encoder by the encoder's own names, which are torchvision's
/// and timm's for a [`ResNet`](crate::encoders::ResNet), and those of the embedding layer under the name that the last layer has there.
///
/// So `torchvision.models.resnet18(num_classes=128)` takes a ResNet-18 with an embedding of 128 values. The layer is `fc` of a ResNet,
/// `head` of a [`Vit`](crate::encoders::Vit), which gets its fixed positions for images of `size` pixels as timm's `pos_embed`, and
/// `embedding` of all others.
///
/// # Errors
///
/// As [`state_dict`].
pub fn for_pytorch(network: &Network, size: usize) -> Result<BTreeMap<String, TensorData>, WeightsError> {
    let last = match &network.encoder {
        Encoder::ResNet(_) => "fc",
        Encoder::Vit(_) => "head",
        _ => "embedding",
    };
    let renamed = |(name, data): (String, TensorData)| match name.split_once('.') {
        Some(("encoder", rest)) => Some((rest.to_owned(), data)),
        Some(("embedding", rest)) => Some((format!("{last}.{rest}"), data)),
        _ => None,
    };
    let mut weights: BTreeMap<String, TensorData> =
        state_dict(network)?.into_iter().filter_map(renamed).collect();
    if let Encoder::Vit(vit) = &network.encoder {
        let side = size / vit.patch();
        let positions = grid_values([side; 2], vit.width());
        weights.insert("pos_embed".into(), TensorData::new(positions, [1, side * side, vit.width()]));
    }
    Ok(weights)
}

/// Loads what [`save_safetensors`] wrote into a network of the same structure.
///
/// # Errors
///
/// If the file cannot be read, or has not exactly the tensors of the network. The network is then
/// left as it was.
pub fn load_safetensors<M: Module>(network: &mut M, path: &Path) -> Result<(), WeightsError> {
    let found = read_tensors(path, Format::Safetensors)?;
    let wanted = named_tensors(network);
    let mut mismatch = compare(&wanted, &found);
    mismatch.unexpected = found
        .iter()
        .filter(|(name, _)| !wanted.contains_key(*name))
        .map(|(name, tensor)| (name.clone(), tensor.shape.to_vec()))
        .collect();
    apply(network, &wanted, found, mismatch, path, Format::Safetensors)
}

/// Loads an encoder's weights by name from PyTorch: `.pth`, `.pt` and `.bin` (zip archives of
/// `torch.save`) or `.safetensors`, as torchvision's ResNets.
///
/// Half and double precision are converted. `num_batches_tracked` is ignored, and so is `fc.*` where the encoder has no such
/// layer; the prefixes `state_dict.`, `model.`, `module.`, `backbone.` and `encoder.` are taken off.
///
/// # Errors
///
/// If the file cannot be read or is damaged, if a tensor of the encoder is missing or of another
/// shape, or if two tensors of the file have one name. The encoder is then left as it was.
pub fn import_backbone<M: Module>(encoder: &mut M, path: &Path) -> Result<ImportReport, WeightsError> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let format = match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("safetensors") => Format::Safetensors,
        Some("pth" | "pt" | "bin") => Format::Pickle,
        _ => {
            return Err(WeightsError::Ending { path: path.to_owned() });
        }
    };
    let wanted = named_tensors(encoder);
    let mut found = Tensors::new();
    let mut sources = BTreeMap::<String, String>::new();
    let mut unused = vec![];
    for (source, tensor) in read_tensors(path, format)? {
        let name = without_prefixes(&source);
        if !wanted.contains_key(name) {
            if !name.starts_with("fc.") && !name.ends_with("num_batches_tracked") {
                unused.push((source, tensor.shape.to_vec()));
            }
            continue;
        }
        let name = name.to_owned();
        if let Some(first) = sources.insert(name.clone(), source.clone()) {
            return Err(WeightsError::Ambiguous { path: path.to_owned(), first, second: source, name });
        }
        found.insert(name, tensor);
    }
    let mut mismatch = compare(&wanted, &found);
    if !mismatch.is_empty() {
        // What the file has instead tells the reader which architecture it is.
        mismatch.unexpected.clone_from(&unused);
    }
    apply(encoder, &wanted, found, mismatch, path, format)?;
    Ok(ImportReport {
        applied: wanted.into_keys().collect(),
        unused: unused.into_iter().map(|(name, _)| name).collect(),
    })
}

type Tensors = BTreeMap<String, burn_pack::Tensor>;

#[derive(Clone, Copy)]
enum Format {
    Safetensors,
    Pickle,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pickle => "a PyTorch archive",
        }
    }
}

/// Tensors of a file by name, their values unread.
fn read_tensors(path: &Path, format: Format) -> Result<Tensors, WeightsError> {
    let open = || {
        if std::fs::File::open(path)?.metadata()?.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        Ok(())
    };
    open().map_err(|source| WeightsError::Open { path: path.to_owned(), source })?;
    fn all(mut store: impl ModuleStore) -> Result<Tensors, String> {
        let tensors = store.get_all_tensors().map_err(|error| error.to_string())?;
        Ok(tensors.clone())
    }
    // The file comes from anywhere: a reader that panics on it must not take the program along.
    let read = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Safetensors => all(SafetensorsStore::from_file(path)),
        Format::Pickle => all(PytorchStore::from_file(path).map_indices_contiguous(false)),
    }));
    read.unwrap_or_else(|_| Err("its structure is invalid".to_owned()))
        .map_err(|reason| damaged(path, format, reason))
}

fn damaged(path: &Path, format: Format, reason: String) -> WeightsError {
    WeightsError::Damaged { path: path.to_owned(), format: format.name(), reason }
}

/// Shapes of a module's tensors, by PyTorch's names and in its layouts.
fn named_tensors<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    module
        .collect(None, Some(Box::new(BurnToPyTorchAdapter)), true)
        .into_iter()
        .map(|tensor| (tensor.name, tensor.shape.to_vec()))
        .collect()
}

fn without_prefixes(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// How `found` falls short of `wanted`; tensors that are not wanted do not count.
fn compare(wanted: &BTreeMap<String, Vec<usize>>, found: &Tensors) -> Mismatch {
    let mut mismatch = Mismatch::default();
    for (name, shape) in wanted {
        match found.get(name) {
            None => mismatch.missing.push((name.clone(), shape.clone())),
            Some(tensor) if tensor.shape.to_vec() != *shape => {
                let found = tensor.shape.to_vec();
                mismatch.shapes.push((name.clone(), found, shape.clone()));
            }
            Some(tensor) if !tensor.dtype.is_float() => {
                let found = format!("{:?}", tensor.dtype);
                mismatch.types.push((name.clone(), found));
            }
            Some(_) => {}
        }
    }
    mismatch
}

/// Sets all tensors of a module, or none.
fn apply<M: Module>(
    module: &mut M,
    wanted: &BTreeMap<String, Vec<usize>>,
    mut found: Tensors,
    mismatch: Mismatch,
    path: &Path,
    format: Format,
) -> Result<(), WeightsError> {
    if !mismatch.is_empty() {
        return Err(WeightsError::Mismatch { path: path.to_owned(), mismatch });
    }
    // All values are read and checked before the first is set: a damaged file changes nothing.
    found.retain(|name, _| wanted.contains_key(name));
    let mut tensors = vec![];
    for (name, tensor) in found {
        let data =
            bridge::into_data(tensor).map_err(|error| damaged(path, format, format!("{name}: {error}")))?;
        tensors.push(bridge::from_data(data.convert_dtype(DType::F32), name, None));
    }
    let result = module.apply(tensors, None, Some(Box::new(PyTorchToBurnAdapter)), true);
    if result.errors.is_empty() && result.missing.is_empty() {
        return Ok(());
    }
    Err(damaged(path, format, result.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::{Encoder, EncoderConfig};
    use crate::heads::MlpConfig;
    use crate::kernels::testing::{noise, values};
    use crate::network::{Network, NetworkConfig};
    use crate::parameters::fingerprint;
    use burn::prelude::*;
    use burn::tensor::TensorData;
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};

    fn config(width: usize) -> NetworkConfig {
        NetworkConfig {
            encoder: EncoderConfig::SmallConv { width },
            channels: 3,
            size: 8,
            embedding: Some(4),
            projector: Some(MlpConfig::byol(5, 3)),
        }
    }

    /// A network whose running statistics are not the initial ones.
    fn trained(width: usize, device: &Device) -> Network {
        let network = config(width).init(device, 1).unwrap();
        let images = TensorData::new(noise(4 * 3 * 64, 1), [4, 3, 8, 8]);
        network.project(Tensor::from_data(images, device));
        network
    }

    fn write(path: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)]) {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, path).unwrap();
    }

    #[test]
    fn a_round_trip_is_exact_and_the_file_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let network = trained(2, &Device::flex().autodiff());
        save_safetensors(&network, &first).unwrap();
        save_safetensors(&network, &first).unwrap();
        for device in [Device::flex(), Device::flex().autodiff()] {
            let mut loaded = config(2).init(&device, 2).unwrap();
            assert_ne!(fingerprint(&loaded), fingerprint(&network));
            load_safetensors(&mut loaded, &first).unwrap();
            assert_eq!(fingerprint(&loaded), fingerprint(&network));
            save_safetensors(&loaded, &second).unwrap();
            assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        }
    }

    #[test]
    fn names_and_layouts_are_pytorchs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let network = trained(2, &Device::flex().autodiff());
        save_safetensors(&network, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
        assert_eq!(shape("encoder.stages.0.conv.weight"), [2, 3, 3, 3]);
        assert_eq!(shape("encoder.stages.3.bn.weight"), [16]);
        assert_eq!(shape("encoder.stages.3.bn.running_var"), [16]);
        assert_eq!(shape("embedding.weight"), [4, 16]);
        assert_eq!(shape("projector.layers.1.bias"), [3]);
        assert_eq!(shape("projector.norms.0.bias"), [5]);
        let view = file.tensor("embedding.weight").unwrap();
        let second = f32::from_le_bytes(view.data()[4..8].try_into().unwrap());
        let embedding = values(network.embedding.unwrap().weight.val());
        assert_eq!(second, embedding[4], "row 0, column 1 of the transpose");
    }

    #[test]
    fn loading_trains_on_as_before() {
        // Loaded parameters still ask for gradients.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let device = Device::flex().autodiff();
        save_safetensors(&trained(2, &device), &path).unwrap();
        let mut network = config(2).init(&device, 2).unwrap();
        load_safetensors(&mut network, &path).unwrap();
        let loss = network.embed(Tensor::ones([2, 3, 8, 8], &device)).square().mean();
        let weight = network.embedding.as_ref().unwrap().weight.val();
        assert!(weight.grad(&loss.backward()).is_some());
    }

    #[test]
    fn what_does_not_fit_is_named_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let device = Device::flex();
        save_safetensors(&config(2).init(&device, 1).unwrap(), &path).unwrap();

        let mut wider = config(3).init(&device, 2).unwrap();
        let before = fingerprint(&wider);
        let error = load_safetensors(&mut wider, &path).unwrap_err();
        let WeightsError::Mismatch { mismatch, .. } = &error else {
            panic!("{error}");
        };
        let first = ("encoder.stages.0.conv.weight".to_owned(), vec![2, 3, 3, 3], vec![3, 3, 3, 3]);
        assert!(mismatch.shapes.contains(&first), "{mismatch:?}");
        assert!(error.to_string().contains("a.safetensors"), "{error}");
        assert_eq!(fingerprint(&wider), before);

        let mut bare = config(2).init(&device, 2).unwrap().without_projector();
        let error = load_safetensors(&mut bare, &path).unwrap_err().to_string();
        assert!(error.contains("unexpected: projector.layers.0.weight"), "{error}");
        save_safetensors(&bare, &path).unwrap();
        let error = load_safetensors(&mut config(2).init(&device, 2).unwrap(), &path).unwrap_err();
        assert!(error.to_string().contains("missing: projector.layers.0.weight [5, 4]"), "{error}");
    }

    #[test]
    fn a_backbone_is_imported_through_prefixes_without_its_classifier() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backbone.safetensors");
        let device = Device::flex();
        let source = trained(2, &Device::flex().autodiff()).encoder;
        let mut tensors = vec![];
        for tensor in source.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true) {
            let (name, shape) = (tensor.name.clone(), tensor.shape.to_vec());
            let data: Vec<f32> = bridge::into_data(tensor).unwrap().try_to_vec().unwrap();
            tensors.push((format!("module.backbone.{name}"), shape, data));
        }
        tensors.push(("module.fc.weight".into(), vec![10, 16], vec![0.0; 160]));
        tensors.push(("module.backbone.stages.0.bn.num_batches_tracked".into(), vec![1], vec![3.0]));
        tensors.push(("module.queue".into(), vec![2], vec![1.0, 2.0]));
        let named: Vec<_> =
            tensors.iter().map(|(name, shape, data)| (name.as_str(), shape.clone(), data.clone())).collect();
        write(&path, &named);

        let mut encoder = config(2).init(&device, 5).unwrap().encoder;
        let report = import_backbone(&mut encoder, &path).unwrap();
        assert_eq!(report.unused, ["module.queue"]);
        assert_eq!(report.applied.len(), 4 * 5);
        assert_eq!(fingerprint(&encoder), fingerprint(&source));

        let mut wider = config(3).init(&device, 5).unwrap().encoder;
        let error = import_backbone(&mut wider, &path).unwrap_err().to_string();
        assert!(error.contains("stages.0.bn.bias is [2], wanted [3]"), "{error}");

        let mut twice = named.clone();
        twice.push(("stages.0.bn.bias", vec![2], vec![0.0; 2]));
        write(&path, &twice);
        let error = import_backbone(&mut encoder, &path).unwrap_err();
        assert!(matches!(error, WeightsError::Ambiguous { .. }), "{error}");
    }

    #[test]
    fn a_whole_saved_network_serves_as_a_backbone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let network = trained(2, &Device::flex().autodiff());
        save_safetensors(&network, &path).unwrap();
        let mut encoder = config(2).init(&Device::flex(), 5).unwrap().encoder;
        let report = import_backbone(&mut encoder, &path).unwrap();
        assert!(report.unused.contains(&"embedding.weight".to_owned()));
        assert_eq!(fingerprint(&encoder), fingerprint(&network.encoder));
    }

    #[test]
    fn half_precision_is_widened_and_integers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let encoder = config(1).init(&Device::flex(), 1).unwrap().encoder;
        let wanted = named_tensors(&encoder);
        let save = |dtype: Dtype, bytes_of_one: &[u8]| {
            let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = wanted
                .iter()
                .map(|(name, shape)| {
                    let count = shape.iter().product();
                    (name.clone(), shape.clone(), bytes_of_one.repeat(count))
                })
                .collect();
            let views = bytes
                .iter()
                .map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
            safetensors::serialize_to_file(views, None, &path).unwrap();
        };
        let mut loaded = encoder.clone();
        save(Dtype::F16, &0x3e00u16.to_le_bytes());
        import_backbone(&mut loaded, &path).unwrap();
        let Encoder::SmallConv(network) = &loaded else {
            panic!("a SmallConv");
        };
        assert_eq!(values(network.stages[0].conv.weight.val()), [1.5; 27]);
        save(Dtype::I32, &7i32.to_le_bytes());
        let error = import_backbone(&mut loaded, &path).unwrap_err().to_string();
        assert!(error.contains("not floating-point: stages.0.bn.bias is I32"), "{error}");
    }

    #[test]
    fn missing_strange_and_damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let mut network = config(2).init(&Device::flex(), 1).unwrap();
        let before = fingerprint(&network);
        let absent = folder.path().join("absent.safetensors");
        let error = load_safetensors(&mut network, &absent).unwrap_err();
        assert!(matches!(error, WeightsError::Open { .. }), "{error}");
        let error = import_backbone(&mut network.encoder, folder.path()).unwrap_err();
        assert!(matches!(error, WeightsError::Ending { .. }), "{error}");
        let unwritable = folder.path().join("no/such/folder/a.safetensors");
        let error = save_safetensors(&network, &unwritable).unwrap_err();
        assert!(matches!(error, WeightsError::Write { .. }), "{error}");

        let whole = folder.path().join("whole.safetensors");
        save_safetensors(&network, &whole).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        let cut = folder.path().join("cut.safetensors");
        for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            let error = load_safetensors(&mut network, &cut).unwrap_err();
            assert!(matches!(error, WeightsError::Damaged { .. }), "{length}: {error}");
        }
        for name in ["text.pth", "text.pt", "text.safetensors"] {
            let path = folder.path().join(name);
            std::fs::write(&path, "not weights").unwrap();
            let error = import_backbone(&mut network.encoder, &path).unwrap_err();
            assert!(matches!(error, WeightsError::Damaged { .. }), "{name}: {error}");
        }
        assert_eq!(fingerprint(&network), before);
    }
}
