"""Saving and sharing interventions: versioned JSON and safetensors, never a pickle."""

from causaltest.sharing.folder import load as load
from causaltest.sharing.folder import save as save
from causaltest.sharing.hub import from_pretrained as from_pretrained
from causaltest.sharing.hub import push_to_hub as push_to_hub
from causaltest.sharing.pyvene_folder import read_pyvene as read_pyvene
