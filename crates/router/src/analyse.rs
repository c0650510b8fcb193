pub(crate) fn analyse(
    _: &[crate::RouteSpec],
    _: &[crate::evaluate::Route],
    _: &mut crate::tree::Tree,
) -> Result<(), Vec<crate::Problem>> {
    Ok(())
}
