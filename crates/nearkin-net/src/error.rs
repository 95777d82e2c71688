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
    pub wanted: &'static str,
}

/// Refuses a size of zero.
pub(crate) fn positive(field: &str, value: usize) -> Result<(), ConfigError> {
    if value > 0 {
        return Ok(());
    }
    Err(ConfigError {
        field: field.to_owned(),
        found: value.to_string(),
        wanted: "give a whole number of at least 1",
    })
}
