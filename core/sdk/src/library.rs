//! Typed form of the host's library service. Needs the capability `library.exists`.

use crate::{ErrorKind, ImportContext, ImportError, Result};
use altmount_model::VPath;
use serde::{Deserialize, Serialize};

/// What [`exists`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExistsRequest {
    /// Paths of the library, from its top on.
    pub paths: Vec<VPath>,
}

/// What [`exists`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExistsAnswer {
    /// Whether there is a file or a folder, for each path in order.
    pub exists: Vec<bool>,
}

/// Asks whether files or folders of these paths are in the library now (`library.exists`). What this import stages is not there
/// before it is over.
///
/// # Errors
/// `limit` for more paths than the host answers at once.
pub async fn exists(cx: &dyn ImportContext, paths: &[VPath]) -> Result<Vec<bool>> {
    let request = ExistsRequest {
        paths: paths.to_vec(),
    };
    let answer: ExistsAnswer = crate::typed(cx, "library.exists", &request).await?;
    if answer.exists.len() != paths.len() {
        let text = format!(
            "library.exists answered {} of {} paths",
            answer.exists.len(),
            paths.len()
        );
        return Err(ImportError::new(ErrorKind::Internal, text));
    }
    Ok(answer.exists)
}
