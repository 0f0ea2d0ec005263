//! Devices by name: a word such as `cpu`, `gpu` or `wgpu:1`, and the device it stands for.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread;

use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::kernels;
use crate::kernels::simd::{self, Level};

/// The environment variable that names the backend when nothing else does.
pub const BACKEND_VARIABLE: &str = "BRASA_BACKEND";

/// The environment variable that names the most capable instruction set that Brasa's CPU kernels use: `avx512`, `avx2`
/// or `baseline`. With the same number of threads, a model that is computed by them alone, as every compiled
/// [`Predictor`](crate::Predictor), has the same bits on every x86-64 processor with that instruction set. Operations
/// without such a kernel are Burn's, which chooses by itself. Read once, when the first device is opened.
pub const SIMD_VARIABLE: &str = "BRASA_SIMD";

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// A GPU if one is found, else the CPU.
    Auto,
    /// A GPU through wgpu; never a software adapter.
    Gpu,
    /// Burn's flex, the fast CPU backend.
    Flex,
    /// Burn's ndarray, the older CPU backend.
    Ndarray,
    /// GPUs through wgpu and WGSL shaders.
    Wgpu,
    /// GPUs through Vulkan and SPIR-V shaders.
    Vulkan,
    /// Apple's GPUs.
    Metal,
    /// NVIDIA's GPUs through CUDA.
    Cuda,
}

impl BackendKind {
    /// The concrete backends: all but `Auto` and `Gpu`, which choose among them.
    const DEVICES: [Self; 6] = [Self::Flex, Self::Ndarray, Self::Wgpu, Self::Vulkan, Self::Metal, Self::Cuda];

    /// The backend's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
        }
    }

    /// Whether this build includes it.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Auto => true,
            Self::Flex => cfg!(feature = "flex"),
            Self::Ndarray => cfg!(feature = "ndarray"),
            Self::Gpu | Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }

    /// Whether it computes on a GPU.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Gpu | Self::Wgpu | Self::Vulkan | Self::Metal | Self::Cuda)
    }
}

/// A backend as a user names it: `auto`, `cpu`, `gpu`, or a kind with an index such as `wgpu:1`.
///
/// ```
/// use brasa::backend::{Backend, BackendKind};
/// let backend: Backend = "cpu".parse()?;
/// assert_eq!(backend.kind(), BackendKind::Flex);
/// let device = backend.device()?;
/// # let _ = device;
/// assert!("gpx".parse::<Backend>().is_err());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    kind: BackendKind,
    index: Option<usize>,
}

impl Default for Backend {
    /// The fastest CPU backend of this build, or its GPU backend if it has no other.
    fn default() -> Self {
        let kind =
            [BackendKind::Flex, BackendKind::Ndarray, BackendKind::Gpu].into_iter().find(|kind| kind.is_compiled());
        Self { kind: kind.unwrap_or(BackendKind::Auto), index: None }
    }
}

impl Backend {
    /// The kind of device.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// The backend that the environment variable [`BACKEND_VARIABLE`] names, else the default.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if the variable holds an unknown name.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(BACKEND_VARIABLE) {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Self::default()),
        }
    }

    /// The device. `auto` takes a GPU if one is found; every other word is taken literally.
    ///
    /// Neither `auto` nor `gpu` takes a software adapter (Mesa's llvmpipe, SwiftShader, Windows's Basic Render Driver),
    /// which is far slower than the CPU backends. `wgpu` and `vulkan` do.
    ///
    /// # Errors
    /// [`Error::Device`] if this build lacks the backend or the machine the device, with the devices that were found;
    /// [`Error::UnknownName`] or [`Error::Argument`] if [`SIMD_VARIABLE`] names an instruction set that is unknown or
    /// that the processor lacks.
    pub fn device(&self) -> Result<Device> {
        self.resolve().map(|(_, device)| device)
    }

    /// The device and its backend: the one that `auto` has chosen, else this one.
    ///
    /// # Errors
    /// As [`device`](Self::device).
    pub fn resolve(&self) -> Result<(Self, Device)> {
        match self.kind {
            BackendKind::Auto => {
                let gpus = [BackendKind::Cuda, BackendKind::Metal, BackendKind::Vulkan, BackendKind::Wgpu].into_iter();
                let found =
                    gpus.filter(|kind| kind.is_compiled()).find_map(|kind| self.hardware(kind).ok()?.resolve().ok());
                found.map_or_else(|| cpu().resolve(), Ok)
            }
            BackendKind::Gpu if self.kind.is_compiled() => self.hardware(BackendKind::Wgpu)?.resolve(),
            _ => Ok((*self, self.open()?)),
        }
    }

    /// The device of a GPU backend: the one with this backend's index, else the first.
    fn hardware(&self, kind: BackendKind) -> Result<Self> {
        let found = catch_unwind(|| list(kind)).unwrap_or_default();
        match choose(&found, self.index) {
            Ok(index) => Ok(Self { kind, index: Some(index).filter(|index| self.index.is_some() || *index > 0) }),
            Err(reason) => Err(self.unavailable(reason)),
        }
    }

    fn open(&self) -> Result<Device> {
        check_simd()?;
        match self.kind {
            kind if !kind.is_compiled() => {
                let feature = if kind == BackendKind::Gpu { BackendKind::Wgpu } else { kind };
                Err(self.unavailable(format!("this build does not have it (cargo feature `{}`)", feature.name())))
            }
            BackendKind::Flex | BackendKind::Ndarray if self.index.is_some_and(|index| index > 0) => {
                Err(self.unavailable("there is one processor, `:0`".into()))
            }
            kind => match catch_unwind(AssertUnwindSafe(|| open(kind, self.index))) {
                Ok(Ok(device)) => Ok(device),
                Ok(Err(reason)) => Err(self.unavailable(reason)),
                Err(_) => Err(self.unavailable("the driver failed".into())),
            },
        }
    }

    fn unavailable(&self, reason: String) -> Error {
        Error::Device { requested: self.to_string(), reason, found: found() }
    }
}

/// Limits the CPU kernels to the instruction set that [`SIMD_VARIABLE`] named at the first call.
pub(crate) fn check_simd() -> Result<()> {
    static LIMITED: OnceLock<Result<()>> = OnceLock::new();
    let limit = || std::env::var_os(SIMD_VARIABLE).map_or(Ok(()), |name| limit_simd(&name.to_string_lossy()));
    LIMITED.get_or_init(limit).clone()
}

/// Limits the CPU kernels to an instruction set; an empty name limits nothing.
fn limit_simd(name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let level = Level::ALL.into_iter().find(|level| level.name() == name);
    let level = level.ok_or_else(|| Error::unknown("instruction set", name, Level::ALL.map(Level::name)))?;
    let most = simd::detected();
    if level > most {
        let expected = format!("an instruction set of this processor, at most {}", most.name());
        return Err(Error::argument(SIMD_VARIABLE, expected, name));
    }
    simd::set_level(level);
    Ok(())
}

/// More threads than nearly any machine has processors; starting a hundred thousand takes minutes.
const MOST_THREADS: usize = 1024;

/// Creates the thread pool that the CPU backends share, with the calling thread as a member. Brasa's kernels compute on
/// the calling thread and on as many helpers as make up the pool's number of threads, with or without this call; Burn's
/// own operations use the pool, and a member starts them at once where it would otherwise hand them to another thread
/// and wait.
///
/// `None` takes the number in `RAYON_NUM_THREADS`, else one thread per processor. Call it once, at the beginning of
/// `main`, from the thread that will train or predict; without it the same numbers are computed on rayon's usual
/// threads. The pool is rayon's global one: work that other threads of the program submit runs on the pool's other
/// threads, and on the calling thread while it computes or waits for data. So no other thread should wait for all of
/// the pool (`rayon::broadcast`) while the calling thread waits for it.
///
/// ```
/// brasa::backend::use_threads(None)?;
/// let several = rayon::current_num_threads() > 1;
/// assert_eq!(rayon::current_thread_index(), several.then_some(0));
/// assert!(brasa::backend::use_threads(None).is_err()); // the pool is created once
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for more than 1024 threads and more than the machine has processors, if the pool already exists,
/// if the calling thread belongs to another pool, or if the threads cannot be started: then the program can no longer
/// compute.
pub fn use_threads(threads: Option<NonZeroUsize>) -> Result<()> {
    make_pool(threads, true)
}

/// As [`use_threads`], without the calling thread: for programs in which several threads predict, such as a server's.
/// If the calling thread of `use_threads` waits for something else, a pool with it has a thread that does nothing.
///
/// ```
/// brasa::backend::use_pool(None)?;
/// assert_eq!(rayon::current_thread_index(), None);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// As [`use_threads`].
pub fn use_pool(threads: Option<NonZeroUsize>) -> Result<()> {
    make_pool(threads, false)
}

fn make_pool(threads: Option<NonZeroUsize>, with_caller: bool) -> Result<()> {
    let from_environment = || std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok();
    let processors = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.or_else(from_environment).map_or_else(processors, NonZeroUsize::get);
    let most = processors().max(MOST_THREADS);
    if threads > most {
        return Err(Error::argument("threads", format!("at most {most}"), threads));
    }
    // Rayon would refuse it as well, but mark the global pool as created, and panic when it is needed.
    if rayon::current_thread_index().is_some() {
        return Err(Error::argument("threads", "a thread that belongs to no pool", "one that does"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    // In a pool of the calling thread alone, nothing would run the work it waits for.
    let pool = if with_caller && threads > 1 { pool.use_current_thread() } else { pool };
    pool.build_global()
        .map_err(|error| Error::argument("threads", "a pool not made before, of threads that can be started", error))?;
    if with_caller {
        kernels::parallel::give_helpers();
    }
    Ok(())
}

/// Chooses a GPU among the devices of a backend and returns its index, or a message that says why none was found.
fn choose(found: &[FoundDevice], index: Option<usize>) -> Result<usize, String> {
    let software = |device: &FoundDevice| {
        let (name, index) = (&device.name, device.index);
        format!("`{name}` computes on the processor, far slower than `cpu`; `wgpu:{index}` selects it anyway")
    };
    match index {
        Some(index) => match found.iter().find(|device| device.index == index) {
            Some(device) if device.software => Err(software(device)),
            Some(device) => Ok(device.index),
            None => Err(format!("there are {} such devices", found.len())),
        },
        None => match (found.iter().find(|device| !device.software), found.first()) {
            (Some(device), _) => Ok(device.index),
            (None, Some(device)) => Err(software(device)),
            (None, None) => Err("no GPU was found".to_owned()),
        },
    }
}

fn cpu() -> Backend {
    let kind = if BackendKind::Flex.is_compiled() { BackendKind::Flex } else { BackendKind::Ndarray };
    Backend { kind, index: None }
}

/// The devices that were found, by the words that name them.
fn found() -> Vec<String> {
    devices()
        .into_iter()
        .flat_map(|(kind, devices)| {
            devices.into_iter().map(move |device| format!("{}:{} ({})", kind.name(), device.index, device.name))
        })
        .collect()
}

/// A device that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundDevice {
    /// Its index among the devices of its kind.
    pub index: usize,
    /// The name it reports.
    pub name: String,
    /// Whether it is a software adapter: it acts as a GPU but is far slower than the CPU backends.
    pub software: bool,
}

impl FoundDevice {
    fn new(kind: BackendKind, index: usize, name: String) -> Self {
        Self { index, software: kind.is_gpu() && is_software(&name), name }
    }
}

/// Whether a GPU of this name is a software adapter.
fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["llvmpipe", "softpipe", "swiftshader", "basic render"].iter().any(|known| name.contains(known))
}

/// The backends of this build, with the devices found for each.
pub fn devices() -> Vec<(BackendKind, Vec<FoundDevice>)> {
    let compiled = BackendKind::DEVICES.into_iter().filter(|kind| kind.is_compiled());
    compiled.map(|kind| (kind, catch_unwind(|| list(kind)).unwrap_or_default())).collect()
}

#[allow(unused_variables)]
fn list(kind: BackendKind) -> Vec<FoundDevice> {
    if !kind.is_gpu() {
        let threads = rayon::current_num_threads();
        return vec![FoundDevice::new(kind, 0, format!("CPU, {threads} threads"))];
    }
    #[cfg(feature = "wgpu")]
    {
        use burn::tensor::DeviceType;
        let device_type = match kind {
            BackendKind::Wgpu => DeviceType::Wgpu,
            #[cfg(feature = "vulkan")]
            BackendKind::Vulkan => DeviceType::Vulkan,
            #[cfg(feature = "metal")]
            BackendKind::Metal => DeviceType::Metal,
            #[cfg(feature = "cuda")]
            BackendKind::Cuda => DeviceType::Cuda,
            _ => return Vec::new(),
        };
        let devices = Device::enumerate(device_type).into_vec();
        devices
            .into_iter()
            .enumerate()
            .map(|(index, device)| {
                let name = catch_unwind(AssertUnwindSafe(|| device.identity())).ok().flatten();
                FoundDevice::new(
                    kind,
                    index,
                    name.map_or_else(|| format!("{device:?}"), |identity| identity.name.to_string()),
                )
            })
            .collect()
    }
    #[cfg(not(feature = "wgpu"))]
    Vec::new()
}

#[allow(unused_variables, clippy::unnecessary_wraps)]
fn open(kind: BackendKind, index: Option<usize>) -> Result<Device, String> {
    match kind {
        #[cfg(feature = "flex")]
        BackendKind::Flex => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // Deprecated in Burn for flex; kept as long as Burn has it.
        BackendKind::Ndarray => Ok(Device::ndarray()),
        #[cfg(feature = "wgpu")]
        BackendKind::Wgpu | BackendKind::Vulkan | BackendKind::Metal | BackendKind::Cuda => {
            let devices = list(kind).len();
            let index = index.unwrap_or(0);
            if index >= devices {
                return Err(format!("there are {devices} such devices"));
            }
            open_gpu(kind, index)
        }
        _ => Err("this build does not have it".into()),
    }
}

#[cfg(feature = "wgpu")]
fn open_gpu(kind: BackendKind, index: usize) -> Result<Device, String> {
    use burn::tensor::DeviceType;
    let kind = match kind {
        BackendKind::Wgpu => DeviceType::Wgpu,
        #[cfg(feature = "vulkan")]
        BackendKind::Vulkan => DeviceType::Vulkan,
        #[cfg(feature = "metal")]
        BackendKind::Metal => DeviceType::Metal,
        #[cfg(feature = "cuda")]
        BackendKind::Cuda => DeviceType::Cuda,
        _ => return Err("this build does not have it".into()),
    };
    let device = Device::enumerate(kind).into_vec().into_iter().nth(index);
    let device = device.ok_or_else(|| "it was not found".to_owned())?;
    // The first operation opens the device: a broken driver fails here, not in the middle of a run.
    let sum = Tensor::<1>::from_floats([1.0], &device).add_scalar(1.0).try_into_scalar::<f32>();
    let probe = sum.map_err(|error| format!("{error:?}"))?;
    if probe == 2.0 { Ok(device) } else { Err(format!("it computes 1 + 1 = {probe}")) }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}:{index}", self.kind.name()),
            None => f.write_str(self.kind.name()),
        }
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let (word, index) = match name.split_once(':') {
            Some((word, index)) => {
                let number = index.parse().map_err(|_| Error::argument("backend", "a number after the colon", name))?;
                (word, Some(number))
            }
            None => (name, None),
        };
        let kind = match word {
            "cpu" => cpu().kind,
            word => {
                let words = [BackendKind::Auto, BackendKind::Gpu].into_iter().chain(BackendKind::DEVICES);
                let kind = words.clone().find(|kind| kind.name() == word);
                kind.ok_or_else(|| {
                    Error::unknown("backend", word, std::iter::once("cpu").chain(words.map(BackendKind::name)))
                })?
            }
        };
        Ok(Self { kind, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_indices() {
        let parse = |name: &str| name.parse::<Backend>();
        assert_eq!(parse("wgpu:1").unwrap().to_string(), "wgpu:1");
        assert_eq!(parse("gpu").unwrap().kind(), BackendKind::Gpu);
        assert_eq!(parse("gpu:2").unwrap().to_string(), "gpu:2");
        assert!(parse("wgpu:x").is_err());
        assert!(parse("flexx").unwrap_err().to_string().contains("did you mean `flex`?"));
    }

    #[test]
    fn an_instruction_set_that_is_unknown_is_refused() {
        limit_simd("").unwrap();
        assert!(limit_simd("avx3").unwrap_err().to_string().contains("did you mean `avx2`?"));
        // The most capable one of this processor is in use anyway.
        limit_simd(simd::detected().name()).unwrap();
        for level in Level::ALL.into_iter().filter(|level| *level > simd::detected()) {
            assert!(limit_simd(level.name()).unwrap_err().to_string().contains("at most"));
        }
    }

    #[test]
    fn software_adapters_are_not_gpus() {
        assert!(is_software("llvmpipe (LLVM 15.0.6, 256 bits)") && is_software("SwiftShader Device"));
        assert!(is_software("Microsoft Basic Render Driver"));
        assert!(!is_software("NVIDIA H100 80GB HBM3") && !is_software("CPU, 2 threads"));
        let found = |names: &[&str]| -> Vec<FoundDevice> {
            let names = names.iter().enumerate();
            names.map(|(index, name)| FoundDevice::new(BackendKind::Wgpu, index, (*name).to_owned())).collect()
        };
        let both = found(&["llvmpipe (LLVM 15.0.6, 256 bits)", "NVIDIA H100 80GB HBM3"]);
        assert_eq!((choose(&both, None), choose(&both, Some(1))), (Ok(1), Ok(1)));
        for reason in [choose(&both, Some(0)), choose(&both[..1], None)] {
            let reason = reason.unwrap_err();
            assert!(reason.contains("`llvmpipe (LLVM 15.0.6, 256 bits)` computes on the processor"), "{reason}");
            assert!(reason.contains("`wgpu:0` selects it"), "{reason}");
        }
        assert_eq!(choose(&both, Some(2)).unwrap_err(), "there are 2 such devices");
        assert_eq!(choose(&[], None).unwrap_err(), "no GPU was found");
    }

    #[test]
    fn a_missing_device_is_an_error_that_lists_the_devices_found() {
        let error = "flex:7".parse::<Backend>().unwrap().device().unwrap_err().to_string();
        assert!(error.contains("flex:7") && error.contains("flex:0"), "{error}");
        if !BackendKind::Cuda.is_compiled() {
            let error = "cuda".parse::<Backend>().unwrap().device().unwrap_err().to_string();
            assert!(error.contains("cargo feature `cuda`"), "{error}");
        }
    }
}
