"""What operators see of a running application: its log, its metrics and its traces."""
