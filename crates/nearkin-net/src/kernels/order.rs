//! In which order the kernels have the values of images in memory.

/// Channels of a block.
pub const LANES: usize = 16;

/// One value for each channel of a block, or for each of as many values of a plane: what is read at a time.
pub type Lanes = [f32; LANES];

/// The order of the values of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[c, h, w]`
    Planes,
    /// `[c / 16, h, w, 16]`: how convolutions compute. From one to the next nothing has to be turned around.
    Blocks,
}
