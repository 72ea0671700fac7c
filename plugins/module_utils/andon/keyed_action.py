"""The part on the bastion of modules that compare secrets: it fills in the fleet's key. Imported by action plugins only."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from .fleet_key import fleet_key


class KeyedAction(ActionBase):
    """Runs the module of the same name with the fleet's key."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def more(self, args, task_vars):
        """The module's arguments; a subclass may change them, or return a finished result with C("_result")."""
        return args

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        try:
            key = fleet_key()
        except OSError as error:
            return {"failed": True, "msg": "The bastion's state cannot be written (%s). Set ANDON_STATE to a folder that can." % error}
        args = self.more(dict(self._task.args), task_vars)
        if "_result" in args:
            return args["_result"]
        return self._execute_module(module_args=dict(args, key=key), task_vars=task_vars)
