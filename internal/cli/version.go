package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// development is the version of a build that nobody gave one.
const development = "devel"

// built is the version and the commit of this program: as the linker was told, else as the go command has
// noted them. commit is "" where neither says it.
func built(version, commit string) (string, string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	if version == "" {
		version = development
		if v := info.Main.Version; v != "" && v != "(devel)" { // go install MODULE@VERSION
			version = v
		}
	}
	if commit == "" {
		commit = vcsCommit(info.Settings)
	}
	return version, commit
}

// vcsCommit is the commit as git abbreviates it, marked where the files were not as committed.
func vcsCommit(settings []debug.BuildSetting) string {
	var commit, mark string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(7, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			mark = "-dirty"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + mark
}

// versionLine is what --version prints.
func versionLine(name, version, commit string) string {
	if commit != "" {
		commit = "commit " + commit + ", "
	}
	return fmt.Sprintf("%s %s (%s%s %s/%s)\n", name, version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
