"""The methods that FindRec is compared with: one method, one file; see docs/baselines.md."""
