//! What can be wrong with a network's settings.

/// A setting that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}; {wanted}")]
pub struct ConfigError {
    /// The setting, as in the recipe: `encoder.width`.
    pub field: String,
    /// The value found.
    pub found: String,
    /// What it has to be.
    pub wanted: String,
}

/// Largest width of a layer that a recipe can ask for: beyond, one layer's weights are tens of gigabytes.
pub(crate) const MAX_SIZE: usize = 1 << 16;

/// Refuses a size of zero, or beyond what fits a machine.
pub(crate) fn check_size(field: &str, value: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        field: field.to_owned(),
        found: value.to_string(),
        wanted: format!("give a whole number from 1 to {most}"),
    })
}
