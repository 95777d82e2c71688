//! The devices a network can live on.

use burn::tensor::Device;
use serde::Serialize;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A name that is no device's.
    #[error("unknown device '{0}': choose cpu, cuda or wgpu")]
    Unknown(String),
    /// A device that this build left out.
    #[error("this build has no {0} support: build with `cargo build --release --features {0}`")]
    NotBuilt(&'static str),
}

/// What `nearkin devices` shows of a device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceInfo {
    /// The name after `--device`.
    pub name: &'static str,
    /// Whether this build can use it.
    pub built: bool,
    /// What it is.
    pub description: String,
}

/// The device of this name, for inference; training adds autodiff to it.
///
/// # Errors
/// When the name is unknown, or the build has no support for it.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(not(feature = "cuda"))]
        "cuda" => Err(DeviceError::NotBuilt("cuda")),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(not(feature = "wgpu"))]
        "wgpu" => Err(DeviceError::NotBuilt("wgpu")),
        _ => Err(DeviceError::Unknown(name.to_owned())),
    }
}

/// The name after `--device` of one that [`device`] gave.
pub(crate) fn name(of: &Device) -> &'static str {
    let mut names = devices().into_iter().map(|info| info.name);
    names.find(|name| device(name).is_ok_and(|device| device == *of)).unwrap_or("another device")
}

/// Every device, built or not.
pub fn devices() -> Vec<DeviceInfo> {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    vec![
        DeviceInfo {
            name: "cpu",
            built: true,
            description: format!("{threads} thread{plural}{}", features()),
        },
        DeviceInfo { name: "cuda", built: cfg!(feature = "cuda"), description: "NVIDIA GPUs".into() },
        DeviceInfo {
            name: "wgpu",
            built: cfg!(feature = "wgpu"),
            description: "any GPU through Vulkan, Metal or DirectX 12".into(),
        },
    ]
}

/// The widest vector instructions that the kernels will use here.
fn features() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return ", AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return ", AVX2 and FMA";
        }
    }
    if cfg!(target_arch = "aarch64") { ", NEON" } else { "" }
}
